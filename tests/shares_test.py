"""Samples dealt out to several processes, by hand and by MPI: the result is one scan's, byte for byte. Also what happens
when a sample is bad, a process dies, or a scan is interrupted.

HALFSAFE names the binary.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import signal
import subprocess
import time
import unittest

import generated_models
import support
from launcher import LAUNCHER, MPIRUN
from support import HALFSAFE, ToolTest, np, onnx, read_json


def has_mpi() -> bool:
    """A build without MPI refuses to be one of several."""
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2"}
    done = subprocess.run([HALFSAFE, "scan", "-"], env=environment, capture_output=True, text=True, check=False)
    return "has no MPI" not in done.stderr


class SharesTest(ToolTest):
    def case(self, samples: int) -> tuple[pathlib.Path, pathlib.Path]:
        case = generated_models.conv_net(17)
        random = np.random.default_rng(5)
        drawn = [{name: random.standard_normal(value.shape).astype(value.dtype) for name, value in case.samples[0].items()}
                 for _ in range(samples)]
        return self.save(case.model), self.save_samples(drawn)

    def ranges_of(self, name: str, *arguments: object) -> bytes:
        out = self.folder / name
        self.tool("scan", *arguments, "-o", out)
        return out.read_bytes()

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen([HALFSAFE, *map(str, arguments)], cwd=self.folder, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def left_over(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


class ShardTest(SharesTest):
    def check(self, model: pathlib.Path, data: pathlib.Path, count: int) -> None:
        whole = self.ranges_of("whole.json", model, "--data", data)
        parts = []
        for shard in range(1, count + 1):
            self.ranges_of(f"{shard}.json", model, "--data", data, "--shard", f"{shard}/{count}")
            parts.append(self.folder / f"{shard}.json")
        orders = list(itertools.permutations(parts))
        for order in orders[:: max(1, len(orders) // 6)]:
            self.tool("merge", *order, "-o", self.folder / "merged.json")
            self.assertEqual((self.folder / "merged.json").read_bytes(), whole)

    def test_any_order(self) -> None:
        model, data = self.case(7)
        self.check(model, data, 3)

    def test_more_shards_than_samples(self) -> None:
        model, data = self.case(2)
        self.check(model, data, 3)

    def test_subgraphs(self) -> None:
        """Branches that not every sample takes."""
        for make in (generated_models.if_outside, generated_models.nested_bodies, generated_models.loop):
            with self.subTest(make.__name__):
                case = make()
                self.check(self.save(case.model), self.save_samples(case.samples, make.__name__), 2)

    def test_real_models_with_changing_shapes(self) -> None:
        for name in ("ppocr_rec", "minilm"):
            with self.subTest(name):
                folder, _ = support.real_model(name, 5, self.folder)
                self.check(folder / "model.onnx", folder / "samples", 2)

    def test_shapes_that_alternate(self) -> None:
        """Each shard sees one shape, all samples together two: sessions are made for shapes that keep coming back."""
        folder, (first, *_) = support.real_model("minilm", 1, self.folder)
        random, samples = np.random.default_rng(2), []
        for number in range(12):
            shape = ((2, 24), (1, 16))[number % 2]
            samples.append({name: random.integers(0, 30000 if name == "input_ids" else 2, shape).astype(value.dtype)
                            for name, value in first.items()})
        self.check(folder / "model.onnx", self.save_samples(samples, "alternating"), 2)

    def test_nonsense_is_refused(self) -> None:
        model, data = self.case(1)
        for shard in ("0/2", "3/2", "2", "1/2/3", "a/b", "-1/2", "1/", "/2"):
            done = self.tool("scan", model, "--data", data, f"--shard={shard}", code=2)
            self.assertIn("--shard", done.stderr)


class SkipTest(SharesTest):
    def setUp(self) -> None:
        super().setUp()
        self.model, self.data = self.case(6)
        self.files = sorted(self.data.glob("*.npz"))

    def spoil(self) -> None:
        """One is no zip, one lacks its input, one holds NaN."""
        self.files[1].write_bytes(b"not a zip")
        np.savez(self.files[2], other=np.zeros(3, np.float32))
        arrays = dict(np.load(self.files[4]))
        name = next(iter(arrays))
        arrays[name].flat[0] = np.nan
        np.savez(self.files[4], **arrays)

    def test_good_samples_alone_count(self) -> None:
        self.spoil()
        good = [path for number, path in enumerate(self.files) if number not in (1, 2, 4)]
        expected = self.tool_ranges("expected.json", *good)
        found = self.tool_ranges("found.json", self.data, "--skip-bad-samples", "--json", self.folder / "result.json")
        self.assertEqual(found["tensors"], expected["tensors"])
        self.assertEqual((found["samples"], len(found["skipped"])), (3, 3))
        self.assertEqual([sample["sample"] for sample in found["skipped"]], [str(self.files[i]) for i in (1, 2, 4)])
        self.assertIn("NaN", found["skipped"][2]["reason"])
        self.assertEqual(read_json(self.folder / "result.json")["skipped"], found["skipped"])

    def tool_ranges(self, name: str, *data: object) -> dict:
        self.tool("scan", self.model, "--data", *data, "-o", self.folder / name)
        return read_json(self.folder / name)

    def test_a_node_that_fails_halfway_leaves_nothing(self) -> None:
        """The sample's first tensors were seen before a later node refuses its index."""
        builder = generated_models.Builder(17)
        builder.input("x", [4])
        builder.input("i", [1], onnx.TensorProto.INT64)
        builder.node("Abs", ["x"], "a")
        builder.node("Gather", ["a", "i"], "y")
        builder.output("y", [1])
        self.model = self.save(builder.model())
        good = {"x": np.float32([1, 2, 3, 4]), "i": np.int64([2])}
        bad = {"x": np.float32([1, 2, 3, 9e9]), "i": np.int64([100])}
        found = self.tool_ranges("found.json", self.save_samples([good, bad, good], "three"), "--skip-bad-samples")
        self.assertEqual({tensor["name"]: tensor["abs_max"] for tensor in found["tensors"]}, {"x": 4, "a": 4, "y": 3})
        self.assertEqual(len(found["skipped"]), 1)

    def test_without_the_option_the_first_ends_it(self) -> None:
        self.spoil()
        done = self.tool("scan", self.model, "--data", self.data, "-o", self.folder / "out.json", code=3)
        self.assertIn(self.files[1].name, done.stderr)
        self.assertNotIn("out.json", self.left_over())

    def test_no_good_sample(self) -> None:
        for path in self.files:
            path.write_bytes(b"")
        done = self.tool("scan", self.model, "--data", self.data, "--skip-bad-samples", "-o", self.folder / "out.json", code=3)
        self.assertIn("none of the 6 samples is good", done.stderr)


class CheckpointTest(SharesTest):
    def test_goes_on_after_a_bad_sample(self) -> None:
        model, data = self.case(5)
        whole = self.ranges_of("whole.json", model, "--data", data)
        bad = sorted(data.glob("*.npz"))[3]
        content = bad.read_bytes()
        bad.write_bytes(b"broken")
        arguments = ["scan", model, "--data", data, "--checkpoint", self.folder / "so-far.json", "-o", self.folder / "out.json"]
        self.tool(*arguments, code=3)
        self.assertEqual(read_json(self.folder / "so-far.json")["done"], 3)
        bad.write_bytes(content)
        for path in sorted(data.glob("*.npz"))[:3]:
            path.write_bytes(b"is not read again")
        self.tool(*arguments)
        self.assertEqual((self.folder / "out.json").read_bytes(), whole)
        self.assertNotIn("so-far.json", self.left_over())

    def test_interrupted(self) -> None:
        model, _ = self.case(1)
        arguments = ["scan", model, "--random", "1000000", "--threads", "1", "--checkpoint", self.folder / "so-far.json", "-q"]
        process = self.start(*arguments)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        done = read_json(self.folder / "so-far.json")["done"]
        self.assertGreater(done, 0)
        self.assertLess(done, 1000000)
        self.assertEqual(self.left_over(), {"model.onnx", "samples", "so-far.json"})

    def test_other_samples_model_or_options_are_refused(self) -> None:
        model, data = self.case(3)
        files = sorted(data.glob("*.npz"))
        files[2].write_bytes(b"broken")
        checkpoint = ["--checkpoint", self.folder / "so-far.json"]
        self.tool("scan", model, "--data", data, *checkpoint, code=3)
        other = self.save(generated_models.transformer().model, "other.onnx")
        for arguments in ([model, "--data", *files[:2]], [model, "--data", data, "--no-graph-optimizations"], [other, "--random", "3"]):
            done = self.tool("scan", *arguments, *checkpoint, code=3)
            self.assertIn("so-far.json", done.stderr)
            self.assertIn("remove it", done.stderr)


@unittest.skipUnless(MPIRUN and has_mpi(), "needs mpirun and a build with MPI")
class MpiTest(SharesTest):
    def mpi(self, ranks: int, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([MPIRUN, "--oversubscribe", "-n", str(ranks), HALFSAFE, *map(str, arguments)], cwd=self.folder,
                              env=LAUNCHER, capture_output=True, text=True, check=False, timeout=120)

    def test_any_number_of_ranks(self) -> None:
        model, data = self.case(5)
        whole = self.ranges_of("whole.json", model, "--data", data)
        for ranks in (1, 2, 3, 7):
            with self.subTest(ranks=ranks):
                out = self.folder / f"{ranks}.json"
                done = self.mpi(ranks, "scan", model, "--data", data, "-o", out)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(out.read_bytes(), whole)
                self.assertEqual(done.stdout.count(str(model)), 1, "one rank reports")

    def test_a_bad_sample_on_one_rank_ends_the_job(self) -> None:
        model, data = self.case(6)
        sorted(data.glob("*.npz"))[5].write_bytes(b"broken")
        done = self.mpi(3, "scan", model, "--data", data, "-o", self.folder / "out.json")
        self.assertEqual(done.returncode, 3)
        self.assertRegex(done.stderr, r"halfsafe: rank 2 of 3: .*\.npz")
        self.assertEqual(self.left_over(), {"model.onnx", "samples"})
        done = self.mpi(3, "scan", model, "--data", data, "-o", self.folder / "out.json", "--skip-bad-samples")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(read_json(self.folder / "out.json")["skipped"]), 1)

    def test_a_rank_that_dies_ends_the_job(self) -> None:
        model, _ = self.case(1)
        die = 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then (sleep 2; kill -9 $$) & fi; exec "$@"'
        done = subprocess.run([MPIRUN, "--oversubscribe", "-n", "2", "sh", "-c", die, "sh", HALFSAFE, "scan", model, "--random",
                               "1000000", "-q", "-o", self.folder / "out.json"], cwd=self.folder, env=LAUNCHER,
                              capture_output=True, text=True, check=False, timeout=120)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("signal 9", done.stdout + done.stderr)
        self.assertEqual(self.left_over(), {"model.onnx", "samples"})

    def test_shards_stay_apart(self) -> None:
        model, data = self.case(4)
        expected = self.ranges_of("shard.json", model, "--data", data, "--shard", "2/2")
        done = self.mpi(1, "scan", model, "--data", data, "--shard", "2/2", "-o", self.folder / "out.json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.folder / "out.json").read_bytes(), expected)


class NoMpiTest(SharesTest):
    @unittest.skipIf(has_mpi(), "this build has MPI")
    def test_says_so(self) -> None:
        model, data = self.case(1)
        environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2"}
        done = subprocess.run([HALFSAFE, "scan", model, "--data", data], env=environment, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 5)
        self.assertIn("--shard", done.stderr)


if __name__ == "__main__":
    unittest.main()
