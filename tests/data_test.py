"""Holds `halfsafe data` against numpy and Polygraphy: what they write is read, what is written they read, bit for bit.

HALFSAFE names the binary. Exits with 77 (skipped) where numpy or Polygraphy is missing.
"""

import base64
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

try:
    import numpy as np
    from polygraphy.comparator import RunResults
    from polygraphy.json import load_json, save_json
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None
try:
    import onnx
    import onnx.numpy_helper
except ImportError:
    onnx = None

HALFSAFE = os.environ["HALFSAFE"]
FIXTURES = pathlib.Path(__file__).resolve().parent / "data" / "polygraphy"
DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float16", "float32", "float64"]


def arrays():
    """Every dtype, byte order, memory order and odd shape that a .npy can hold, by name."""
    random = np.random.default_rng(1)
    result = {}
    for dtype in DTYPES:
        for shape in [(), (0,), (3,), (2, 3), (2, 0, 3), (2, 3, 4), (1, 2, 1, 3, 2)]:
            count = int(np.prod(shape)) * np.dtype(dtype).itemsize
            raw = random.integers(0, 2 if dtype == "bool" else 256, count, dtype=np.uint8)
            array = raw.view(dtype).reshape(shape)
            name = f"{dtype}/{'x'.join(map(str, shape)) or 'scalar'}"
            result[name] = array
            result[name + "/big"] = array.astype(array.dtype.newbyteorder(">"))
            result[name + "/fortran"] = np.asfortranarray(array)
            result[name + "/fortran-big"] = np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))
    return result


class DataTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.counter = 0

    def new_path(self, ending=""):
        self.counter += 1
        return self.folder / f"out{self.counter}{ending}"

    def run_data(self, *paths, out):
        return subprocess.run([HALFSAFE, "data", *map(str, paths), "-o", str(out)], capture_output=True, text=True,
                              timeout=120)

    def convert(self, *paths, folder=False):
        """The samples that halfsafe makes of `paths`, read by Polygraphy, or by numpy from a folder of .npz."""
        out = self.new_path("" if folder else ".json")
        done = self.run_data(*paths, out=out)
        self.assertEqual(done.returncode, 0, done.stderr)
        if not folder:
            return load_json(str(out))
        samples = []
        for path in sorted(out.iterdir()):
            with np.load(path) as file:
                samples.append({name: file[name] for name in file.files})
        return samples

    def refuse(self, path, *expected):
        """`path` is refused with a message that holds `expected`, and nothing is left behind."""
        before = sorted(self.folder.rglob("*"))
        for ending in ("", ".json"):
            done = self.run_data(path, out=self.new_path(ending))
            self.assertEqual(done.returncode, 3, f"{path}: {done.stderr}")
            for text in expected:
                self.assertIn(text, done.stderr)
        self.assertEqual(sorted(self.folder.rglob("*")), before)

    def assert_same(self, found, expected):
        self.assertEqual(list(found), list(expected))
        for name, array in expected.items():
            little = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).reshape(array.shape)
            self.assertEqual(found[name].dtype, little.dtype, name)
            self.assertEqual(found[name].shape, array.shape, name)
            self.assertEqual(found[name].tobytes(), little.tobytes(), name)

    def test_npz_of_every_kind_of_array(self):
        for save in (np.savez, np.savez_compressed):
            path = self.folder / "all.npz"
            save(path, **arrays())
            for folder in (False, True):
                (sample,) = self.convert(path, folder=folder)
                self.assert_same(sample, arrays())

    def test_polygraphy_input_of_every_kind_of_array(self):
        path = self.folder / "inputs.json"
        save_json([arrays(), {"x": np.float32([1, 2])}], str(path))
        for folder in (False, True):
            first, second = self.convert(path, folder=folder)
            self.assert_same(first, arrays())
            self.assert_same(second, {"x": np.float32([1, 2])})

    def test_polygraphy_single_feed_dict(self):
        path = self.folder / "one.json"
        save_json({"x": np.float32([1, 2])}, str(path))
        (sample,) = self.convert(path)
        self.assert_same(sample, {"x": np.float32([1, 2])})

    def test_polygraphy_fixture(self):
        found = self.convert(FIXTURES / "inputs.json")
        expected = load_json(str(FIXTURES / "inputs.json"))
        self.assertEqual(len(found), 2)
        for one, other in zip(found, expected):
            self.assert_same(one, other)

    def test_polygraphy_legacy_payloads(self):
        array = np.arange(200, dtype=np.float32).reshape(2, 100)
        npy, npz = io.BytesIO(), io.BytesIO()
        np.save(npy, array)
        np.savez_compressed(npz, first=array, second=np.zeros(3))
        for payload in (npy.getvalue(), npz.getvalue()):
            for text in (base64.b64encode(payload).decode(), payload.decode("latin-1")):
                for marker in ({"polygraphy_class": "ndarray"},
                               {"__polygraphy_encoded_ndarray": "polygraphy_serialized_json_type"}):
                    for ascii_only in (True, False):
                        path = self.folder / "legacy.json"
                        path.write_text(json.dumps([{"x": {"array": text, **marker}}], ensure_ascii=ascii_only))
                        self.assert_same(load_json(str(path))[0], {"x": array})
                        (sample,) = self.convert(path)
                        self.assert_same(sample, {"x": array})

    def test_names_survive(self):
        names = ["", "a/b", "a:0", 'quote"', "back\\slash", "ünï", "\N{GRINNING FACE}", "new\nline", "..", "/abs"]
        sample = {name: np.float32([i]) for i, name in enumerate(names)}
        path = self.folder / "names.json"
        save_json([sample], str(path))
        (found,) = self.convert(path)
        self.assert_same(found, sample)

    def test_npy_formats(self):
        array = np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3))
        folder = self.folder / "formats"
        folder.mkdir()
        for version in ((1, 0), (2, 0), (3, 0)):
            with open(folder / f"v{version[0]}.npy", "wb") as file:
                np.lib.format.write_array(file, array, version=version)
        with open(folder / "v4.npy", "wb") as file:
            np.save(file, array)
            file.write(b"what follows is ignored")
        (sample,) = self.convert(folder)
        self.assert_same(sample, {f"v{i}": array for i in (1, 2, 3, 4)})

    @unittest.skipIf(ml_dtypes is None, "needs ml_dtypes")
    def test_bfloat16(self):
        values = np.array([1, 2, 3.5], dtype=ml_dtypes.bfloat16)
        folder = self.folder / "bf16"
        folder.mkdir()
        np.save(folder / "x.npy", values)
        np.save(folder / "big.npy", values.astype(values.dtype.newbyteorder(">")))
        (sample,) = self.convert(folder, folder=True)
        for array in sample.values():
            self.assertEqual(array.view(ml_dtypes.bfloat16).tolist(), [1, 2, 3.5])

    @unittest.skipIf(onnx is None, "needs onnx")
    def test_onnx_test_data(self):
        folder = self.folder / "model" / "test_data_set_0"
        folder.mkdir(parents=True)
        expected = {}
        for index, dtype in enumerate(DTYPES):
            array = np.array([[0, 1, 1]], dtype=dtype)
            expected[dtype] = array
            raw = onnx.numpy_helper.from_array(array, dtype)
            # Without raw_data the elements lie in a field that depends on the type.
            values = array.view(np.uint16) if dtype == "float16" else array
            typed = onnx.helper.make_tensor(dtype, raw.data_type, array.shape, values.flatten().tolist())
            if dtype == "float16":
                del typed.int32_data[:]
                typed.int32_data.extend(values.flatten().tolist())
            tensor = typed if index % 2 else raw
            (folder / f"input_{index}.pb").write_bytes(tensor.SerializeToString())
        (sample,) = self.convert(self.folder / "model")
        self.assert_same(sample, expected)

    def test_folders_in_natural_order(self):
        folder = self.folder / "many"
        (folder / "deep" / "1").mkdir(parents=True)
        for name in ("2", "10", "1"):
            np.savez(folder / f"{name}.npz", x=np.int64([int(name)]))
        np.save(folder / "deep" / "1" / "x.npy", np.int64([100]))
        (folder / "readme.txt").write_text("ignored")
        os.symlink(folder, folder / "deep" / "loop")
        found = [int(sample["x"][0]) for sample in self.convert(folder)]
        self.assertEqual(found, [1, 2, 10, 100])
        again = self.convert(folder, folder=True)
        self.assertEqual([int(sample["x"][0]) for sample in again], found)

    def test_written_npz_folder_is_read_again(self):
        source = self.folder / "all.npz"
        np.savez(source, **arrays())
        out = self.new_path()
        self.assertEqual(self.run_data(source, source, out=out).returncode, 0)
        for sample in self.convert(out):
            self.assert_same(sample, arrays())

    def test_recorded_outputs_are_no_inputs(self):
        RunResults.load(str(FIXTURES / "outputs.json"))  # Or the fixture would prove nothing.
        self.refuse(FIXTURES / "outputs.json", "outputs.json", "recorded")

    def test_recorded_outputs_that_halfsafe_wrote(self):
        # polygraphy_test.cc checks that this file is what halfsafe writes.
        ((name, iterations),) = RunResults.load(str(FIXTURES / "written_outputs.json")).items()
        self.assertEqual(name, "halfsafe-fp32")
        first, second = ({key: array for key, array in iteration.items()} for iteration in iterations)
        self.assert_same(first, {"y": np.float32([[1, -2, 3e38]]), "a/b:0": np.array(-7, dtype=np.int64)})
        self.assert_same(second, {"ü\"\\": np.float16([1, np.inf]), "none": np.zeros((0, 2), dtype=bool)})
        self.assertEqual([iteration.runner_name for iteration in iterations], [name, name])

    def test_bad_data_is_refused(self):
        np.savez(self.folder / "object.npz", x=np.array([{}], dtype=object))
        self.refuse(self.folder / "object.npz", "object.npz", "'x'", "|O")
        np.savez(self.folder / "text.npz", x=np.array(["a"]))
        self.refuse(self.folder / "text.npz", "'x'", "<U1")
        np.savez(self.folder / "complex.npz", x=np.complex64([1]))
        self.refuse(self.folder / "complex.npz", "'x'", "<c8")
        np.savez(self.folder / "struct.npz", x=np.zeros(2, dtype=[("a", "f4")]))
        self.refuse(self.folder / "struct.npz", "'x'", "structured")
        (self.folder / "text.json").write_text("{")
        self.refuse(self.folder / "text.json", "text.json", "byte 1")
        (self.folder / "tensor.json").write_text('[{"x": {"tensor": "AAAA", "polygraphy_class": "Tensor"}}]')
        self.refuse(self.folder / "tensor.json", "tensor.json[0]", "'x'", "numpy")
        self.refuse(self.folder / "missing", "missing")
        (self.folder / "empty").mkdir()
        self.refuse(self.folder / "empty", "empty", "input_0.pb")

    def test_zip_that_lies(self):
        npy = io.BytesIO()
        np.save(npy, np.zeros(3, dtype=np.float32))
        huge = npy.getvalue().replace(b"(3,), }" + b" " * 14, b"(300000000000000,), }")
        self.assertNotEqual(huge, npy.getvalue())
        path = self.folder / "promise.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("x.npy", huge)
        self.refuse(path, "promise.npz", "'x'", "1200000000000000")
        path = self.folder / "crc.npz"
        np.savez(path, x=np.arange(100))
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        self.refuse(path, "crc.npz", "'x'")


if __name__ == "__main__":
    unittest.main()
