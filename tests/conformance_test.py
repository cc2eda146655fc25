"""The cases of ONNX's package through fix, judged without halfsafe, and held against tests/data/conformance.json.

HALFSAFE names the binary. A tenth of them (sweep.py): scripts/conformance runs all. Exits with 77 (skipped) where a
package is missing.
"""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

try:
    import onnx
    import onnxruntime

    import sweep
    from conformance import cases, judge, run, table
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

RECORD = Path(__file__).resolve().parent / "data/conformance.json"
# Of all cases: refused, and in FP32 for another reason than that the operator has no 16-bit type or the case's own values pass
# FP16's range.
MOST_REFUSED = 0.02
MOST_WIDE = 0.005
MOST_OVERFLOW = 0.025


class ConformanceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.kept = table.read(RECORD)
        every = cases.all_cases()
        cls.missing = set(cls.kept["cases"]) ^ {case.id for case in every}
        cls.outcomes = list(run.run_cases(sweep.tenth(every)))

    def test_no_faults(self) -> None:
        for outcome in self.outcomes:
            with self.subTest(outcome.case, half=outcome.half):
                self.assertIn(outcome.kind, (*run.GOOD, run.BROKEN), outcome.detail)

    def test_nothing_is_worse(self) -> None:
        found = table.record(self.outcomes, {})
        kept = {"cases": {case: ends for case, ends in self.kept["cases"].items() if case in found["cases"]}}
        self.assertEqual(table.worse(kept, found), [])

    def test_the_record_is_of_these_packages(self) -> None:
        """Else scripts/conformance has to be run."""
        self.assertEqual(self.kept["versions"], {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__})
        self.assertEqual(self.missing, set())

    def test_few_are_refused_or_wide(self) -> None:
        for half, counts in self.kept["counts"].items():
            count = sum(counts.values())
            self.assertEqual(count, len(self.kept["cases"]))
            self.assertLessEqual(counts["refused"], MOST_REFUSED * count)
            overflow = [case for case, ends in self.kept["cases"].items() if "overflow" in ends[half]]
            self.assertLessEqual(len(overflow), MOST_OVERFLOW * count, overflow)
            others = [case for case, ends in self.kept["cases"].items() if ends[half].startswith("fp32")
                      and not {"no-half-type", "nothing-to-convert", "overflow"} & set(ends[half].removeprefix("fp32: ").split(", "))]
            self.assertLessEqual(len(others), MOST_WIDE * count, others)


class JudgeTest(unittest.TestCase):
    """A judge that lets everything pass proves nothing."""

    def test_values(self) -> None:
        tolerance = judge.Tolerance(0.01, 0.1)
        np = judge.np
        for want, have in (([1.0, 2.0], [1.0, 2.1]), ([1.0, np.inf], [1.0, 2.0]), ([1.0, 2.0], [1.0, np.nan]),
                           ([np.inf, 2.0], [-np.inf, 2.0]), ([[1.0]], [1.0]), ([0.0], [1e-6])):
            self.assertTrue(judge.difference(np.float32(want), np.float32(have), tolerance), f"{want} and {have}")
        self.assertTrue(judge.difference(np.int64([1, 2]), np.int64([1, 3]), tolerance))
        self.assertTrue(judge.difference(np.array(["a"], object), np.array(["b"], object), tolerance))
        self.assertTrue(judge.difference([np.float32([1])], [], tolerance))
        self.assertTrue(judge.difference(None, np.float32([1]), tolerance))
        many = np.ones(10000, np.float32)
        one_off = many.copy()
        one_off[7] = 1.2  # The norm doesn't see it.
        self.assertTrue(judge.difference(many, one_off, tolerance))
        self.assertEqual(judge.difference(np.float32([1, np.nan, np.inf]), np.float32([1.001, np.nan, np.inf]), tolerance), "")

    def model(self, kind: int, op: str = "Relu") -> onnx.ModelProto:
        helper = onnx.helper
        nodes = [helper.make_node("Cast", ["x"], ["h"], to=kind), helper.make_node(op, ["h"], ["k"], "middle"),
                 helper.make_node("Cast", ["k"], ["y"], to=1)]
        for cast in nodes[::2]:
            helper.set_metadata_props(cast, {"halfsafe.inserted": "1"})
        values = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
        return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:]),
                                 opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def test_models(self) -> None:
        helper = onnx.helper
        values = [helper.make_tensor_value_info(name, 1, [2]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "middle")], "g", values[:1], values[1:])
        original = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

        def judged(fixed: onnx.ModelProto, precision: str) -> str:
            plan = {"opset": None, "nodes": [{"name": "middle", "precision": precision}]}
            return judge.judge_model(original, fixed, plan)

        half = self.model(onnx.TensorProto.FLOAT16)
        self.assertEqual(judged(half, "fp16"), "")
        self.assertIn("to be fp32", judged(half, "fp32"))
        self.assertIn("to be fp16", judged(self.model(onnx.TensorProto.FLOAT), "fp16"))
        self.assertIn("not those", judged(self.model(onnx.TensorProto.FLOAT16, "Abs"), "fp16"))
        renamed = onnx.ModelProto()
        renamed.CopyFrom(half)
        renamed.graph.input[0].name = renamed.graph.node[0].input[0] = "z"
        self.assertIn("inputs", judged(renamed, "fp16"))
        broken = onnx.ModelProto()
        broken.CopyFrom(half)
        broken.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
        self.assertIn("checker", judged(broken, "fp16"))


if __name__ == "__main__":
    unittest.main()
