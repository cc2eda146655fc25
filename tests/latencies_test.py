"""Plans by latencies measured on a GPU: the least total time, against exhaustive search over every assignment.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import itertools
import json
import pathlib
import unittest
from typing import Any

import support
from support import np, onnx, read_json

from onnx import ModelProto, TensorProto, helper

ROWS, COLUMNS = 4, 64
GRAPHS = 40
NODES = 8
CAST_BYTES = 6  # An element: four read and two written, or the reverse.


def random_graph(rng: np.random.Generator) -> ModelProto:
    """Element-wise nodes n0, n1, ... on earlier results; every result that nobody reads is an output."""
    results, nodes, read = ["x"], [], set()
    for number in range(NODES):
        operator = str(rng.choice(["Relu", "Abs", "Neg", "Add", "Max"]))
        inputs = [str(rng.choice(results[-3:])) for _ in range(2 if operator in ("Add", "Max") else 1)]
        read.update(inputs)
        nodes.append(helper.make_node(operator, inputs, [f"t{number}"], name=f"n{number}"))
        results.append(f"t{number}")
    shape = [ROWS, COLUMNS]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in results[1:] if name not in read]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def total(model: ModelProto, wide: dict[str, bool], latencies: dict[str, Any]) -> float:
    """Microseconds a sample: each node's, and one Cast for each tensor that some reader wants in another type."""
    writer = {node.output[0]: node.name for node in model.graph.node}
    time = sum(entry["fp32_us" if wide[entry["name"]] else "fp16_us"] for entry in latencies["nodes"])
    time /= latencies["batch"]
    cast = latencies["cast_us"] / latencies["batch"] + CAST_BYTES * ROWS * COLUMNS / latencies["bytes_per_us"]
    outputs = {output.name for output in model.graph.output}
    for name in ["x", *writer]:
        stored = wide[writer[name]] if name in writer else True
        readers = [wide[node.name] for node in model.graph.node if name in node.input] + [True] * (name in outputs)
        time += cast * any(reader != stored for reader in readers)
    return time


class LatenciesTest(support.ToolTest):
    def scanned(self, model: ModelProto) -> tuple[pathlib.Path, pathlib.Path]:
        path = self.save(model)
        samples = self.folder / "sample.npz"
        np.savez(samples, x=np.random.default_rng(1).standard_normal((ROWS, COLUMNS)).astype(np.float32))
        ranges = self.folder / "ranges.json"
        self.tool("scan", path, "--data", samples, "-o", ranges)
        return path, ranges

    def plan(self, model: pathlib.Path, ranges: pathlib.Path, latencies: dict[str, Any], *options: str,
             code: int = 0) -> Any:
        """The plan's precision of each node by name, or the message."""
        path = self.folder / "latencies.json"
        path.write_text(json.dumps(latencies))
        out = self.folder / "plan.json"
        out.unlink(missing_ok=True)
        done = self.tool("plan", model, "--ranges", ranges, "-o", out, "--cost", path, *options, code=code)
        if code != 0:
            self.assertFalse(out.exists())
            return done.stderr
        plan = read_json(out)
        return {node["name"]: node["precision"] for node in plan["nodes"]} | {"warnings": plan["warnings"]}

    def latencies(self, ranges: pathlib.Path, nodes: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
        return {"format": "halfsafe-latencies", "version": 1, "model_sha256": read_json(ranges)["model_sha256"],
                "nodes": nodes, **fields}

    def test_no_assignment_is_faster(self) -> None:
        rng = np.random.default_rng(7)
        mixed = 0
        for _ in range(GRAPHS):
            model = random_graph(rng)
            path, ranges = self.scanned(model)
            names = [node.name for node in model.graph.node]
            # FP16 is the slower one now and then: kernels are not always there.
            nodes = [{"name": name, "fp16_us": rng.uniform(1, 5), "fp32_us": rng.uniform(2, 9)} for name in names]
            latencies = self.latencies(ranges, nodes, batch=int(rng.integers(1, 9)), cast_us=rng.uniform(0.5, 4),
                                       bytes_per_us=rng.uniform(1e3, 1e6))
            plan = self.plan(path, ranges, latencies, "--repair", "fp32")
            found = total(model, {name: plan[name] == "fp32" for name in names}, latencies)
            least = min(total(model, dict(zip(names, choice)), latencies)
                        for choice in itertools.product([False, True], repeat=len(names)))
            self.assertLessEqual(found, least * (1 + 1e-5) + 0.01)
            mixed += len({plan[name] for name in names}) > 1
        self.assertGreater(mixed, GRAPHS // 4, "too few plans mix precisions to mean anything")

    def chain(self) -> tuple[pathlib.Path, pathlib.Path]:
        shape = [ROWS, COLUMNS]
        nodes = [helper.make_node("Abs", ["x"], ["a"], name="first"), helper.make_node("Relu", ["a"], ["b"], name="second"),
                 helper.make_node("Neg", ["b"], ["y"], name="third")]
        graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
        return self.scanned(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))

    def test_a_fused_layer_and_unknown_layers(self) -> None:
        model, ranges = self.chain()
        fused = {"name": "first + second + PWN(third)", "fp16_us": 1.0, "fp32_us": 900.0}
        alone = self.plan(model, ranges, self.latencies(ranges, [fused], cast_us=2.0))
        self.assertEqual([alone["first"], alone["second"]], ["fp16", "fp16"])
        unknown = {"name": "Reformatting CopyNode", "fp16_us": 1.0, "fp32_us": 1.0}
        both = self.plan(model, ranges, self.latencies(ranges, [fused, unknown], cast_us=2.0))
        self.assertEqual([both["first"], both["second"]], ["fp16", "fp16"])
        self.assertIn("Reformatting CopyNode", " ".join(both["warnings"]))
        slow = [{"name": name, "fp16_us": 900.0, "fp32_us": 1.0} for name in ("first", "second", "third")]
        self.assertEqual(set(self.plan(model, ranges, self.latencies(ranges, slow))[name] for name in
                             ("first", "second", "third")), {"fp32"})

    def test_bf16_where_it_is_the_fastest(self) -> None:
        model, ranges = self.chain()
        nodes = [{"name": name, "fp16_us": 500.0, "fp32_us": 900.0, "bf16_us": 1.0} for name in ("first", "second", "third")]
        latencies = self.latencies(ranges, nodes, cast_us=1.0)
        for options, precision in (((), "fp16"), (("--repair", "bf16"), "bf16")):
            plan = self.plan(model, ranges, latencies, *options)
            self.assertEqual([plan[name] for name in ("first", "second", "third")], [precision] * 3)

    def test_bad_files(self) -> None:
        model, ranges = self.chain()
        node = {"name": "first", "fp16_us": 1.0, "fp32_us": 2.0}
        for change, words in (({"model_sha256": "0" * 64}, "another model"), ({"nodes": [node | {"name": "nobody"}]}, "nobody"),
                              ({"nodes": [node | {"fp16_us": -1.0}]}, "fp16_us"), ({"nodes": [{"name": "first"}]}, "fp16_us"),
                              ({"batch": 0}, "batch"), ({"bytes_per_us": -3.0}, "bytes_per_us"), ({"version": 2}, "version")):
            with self.subTest(change=change):
                message = self.plan(model, ranges, self.latencies(ranges, [node]) | change, code=3)
                self.assertIn(words, message)


if __name__ == "__main__":
    unittest.main()
