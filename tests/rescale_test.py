"""Rescaling by powers of two: what it writes is the original to the bit in FP32, and right in FP16 without FP32 nodes.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import json
import math
import pathlib
import re
import unittest

import support
from support import Sample, onnx, read_json

import exactness
import generated_models
import rescale_models
from fix_test import FixTest
from onnx import ModelProto

SAMPLES = 3
# What FP16 rounding alone costs is measured on a twin that does not overflow; the error may be twice that.
MOST_OVER_TWIN = 2.0
# Cases whose FP32 results hold values past FP32's range or below its normal one, where scaling is not exact.
INEXACT = ("broken", "tiny")


def inserted_nodes(original: pathlib.Path, rescaled: pathlib.Path) -> int:
    counts = [sum(node.op_type != "Constant" for _, graph in support.graphs_of(onnx.load(path).graph) for node in graph.node)
              for path in (original, rescaled)]
    return counts[1] - counts[0]


class RescaleTest(FixTest):
    def exponents_only(self, plan: pathlib.Path) -> pathlib.Path:
        """The plan with every node in FP32 and the constants' values kept."""
        content = read_json(plan)
        content |= {"nodes": [], "io": [], "constants": []}
        path = plan.with_name("exponents.json")
        path.write_text(json.dumps(content))
        return path

    def assert_exact(self, model: pathlib.Path, plan: pathlib.Path, samples: list[Sample]) -> int:
        """Applies the plan's exponents alone; returns how many there are."""
        original = onnx.load(model)
        lifted = original if not support.holds_halves(original) else support.lifted(original)
        path = self.exponents_only(plan)
        rescaled = path.with_suffix(".onnx")
        self.tool("apply", model, "--plan", path, "-o", rescaled)
        if lifted is not original:  # It is the FP32 model behind it that stays what it is.
            model, samples = self.save(lifted, "lifted.onnx"), support.widened(samples)
        onnx.checker.check_model(support.dense(onnx.load(rescaled)), full_check=True)
        self.assertEqual(exactness.problems(model, rescaled, samples), [])
        if not inserted_nodes(model, rescaled):
            self.assertEqual(exactness.lost_fusions(model, rescaled), {})
            optimized = exactness.differences(model, rescaled, samples, True)
            self.assertEqual([str(item) for item in optimized if item.differing], [])
        return len(read_json(path)["tensors"])


class NetTest(RescaleTest):
    """Nets that pass 10^6 in the middle: no node is left in FP32, and the error is what rounding costs."""

    def error_of_twin(self, name: str) -> float:
        model = self.save(rescale_models.make_model(name, gain=1), f"{name}_twin.onnx")
        data = self.save_samples(rescale_models.make_samples(name, SAMPLES), f"{name}_twin")
        result = self.folder / f"{name}_twin.json"
        plain = self.folder / f"{name}_twin_fp16.onnx"
        self.tool("fix", model, "--data", data, "-o", plain, "--repair", "fp32", "--json", result, code=None)
        return max(output["rel_l2"] for output in read_json(result)["plain_fp16"]["outputs"])

    def check_net(self, name: str, most_fp32: int = 0, over_twin: float = MOST_OVER_TWIN) -> None:
        folder = self.folder / name
        folder.mkdir()
        original = rescale_models.make_model(name)
        samples = rescale_models.make_samples(name, SAMPLES)
        model, data = self.save(original, f"{name}/model.onnx"), self.save_samples(samples, f"{name}/samples")
        self.tool("fix", model, "--data", data, "-o", folder / "fixed.onnx", "--repair", "rescale", "--save-plan",
                  folder / "plan.json", "--json", folder / "result.json")
        self.check_written(original, folder / "fixed.onnx")
        answer = read_json(folder / "result.json")
        self.assertEqual(answer["verdict"], "right")
        self.assertGreater(len(answer["overflowing"]), 0)
        self.assertLessEqual(len(answer["fp32_nodes"]), most_fp32)
        error = max(output["rel_l2"] for output in answer["outputs"])
        self.assertLessEqual(error, over_twin * self.error_of_twin(name))
        self.assertGreater(self.assert_exact(model, folder / "plan.json", samples), 0)

    def test_conv_stack(self) -> None:
        self.check_net("conv_stack")

    def test_residual_net(self) -> None:
        self.check_net("residual_net")

    def test_transformer_ln(self) -> None:
        self.check_net("transformer_ln")

    def test_transformer_rms(self) -> None:
        self.check_net("transformer_rms")

    def test_unet(self) -> None:
        self.check_net("unet")

    def test_gated_mlp(self) -> None:
        self.check_net("gated_mlp")

    def test_softmax_net(self) -> None:
        self.check_net("softmax_net")

    def test_lstm_net(self) -> None:
        self.check_net("lstm_net")

    def test_transformer_growing(self) -> None:
        """One stream from 1 to 10^6 whose squares no single exponent fits; multiplications are added."""
        self.check_net("transformer_growing", most_fp32=4, over_twin=4.0)


class NarrowTest(RescaleTest):
    """After widening, no node is in FP32 for its error that could be in FP16."""

    def test_magika_is_minimal(self) -> None:
        self.check_minimal(support.real_model("magika", 8, self.folder)[0])

    def test_recognition_is_minimal(self) -> None:
        self.check_minimal(support.real_model("ppocr_rec", 8, self.folder)[0])

    def test_growing_transformer_is_minimal(self) -> None:
        """Its exponents leave nothing to be pinned for its range, so that every pinned node is tried."""
        name = "transformer_growing"
        folder = self.folder / name
        folder.mkdir()
        self.save(rescale_models.make_model(name), f"{name}/model.onnx")
        self.save_samples(rescale_models.make_samples(name, 8), f"{name}/samples")
        pinned = self.check_minimal(folder, "--repair", "rescale")
        self.assertLessEqual(len(pinned), 4)
        self.assertEqual(sorted(pinned), sorted(name for name, precision in self.plan_of(self.folder / "plan.json").items()
                                                if precision == "fp32"))

    def test_without_a_budget_nothing_is_taken_back(self) -> None:
        folder, _ = support.real_model("ppocr_rec", 8, self.folder)
        result = self.folder / "result.json"
        self.tool("fix", folder / "model.onnx", "--data", folder / "samples", "-o", self.folder / "fixed.onnx", "--json",
                  result, "--budget", 0)
        answer = read_json(result)
        self.assertEqual(answer["narrowing"]["nodes"], [])
        self.assertEqual(sum(len(step["nodes"]) for step in answer["widenings"]),
                         sum(node["reason"] == "error" for node in answer["fp32_nodes"]))

    def check_minimal(self, folder: pathlib.Path, *options: object) -> list[str]:
        """Each node in FP32 for its error was needed: in FP16, with all else the same, the error is more than is looked for."""
        model, data = folder / "model.onnx", ["--data", folder / "samples"]
        plan, result = self.folder / "plan.json", self.folder / "result.json"
        self.tool("fix", model, *data, "-o", self.folder / "fixed.onnx", "--save-plan", plan, "--json", result,
                  *options)
        answer, content = read_json(result), read_json(plan)
        self.assertGreater(len(answer["widenings"]), 0)
        self.assertTrue(answer["narrowing"]["minimal"])
        for seed in range(1, 4):  # Roundings that the search has not seen.
            self.tool("check", model, self.folder / "fixed.onnx", *data, "--seed", seed)
        pinned = {index: node["name"] for index, node in enumerate(content["nodes"]) if node["precision"] == "fp32"
                  and node["reason"] == "error"}
        for index in pinned:
            changed = json.loads(json.dumps(content))
            changed["nodes"][index]["precision"] = "fp16"
            path = self.folder / "changed.json"
            path.write_text(json.dumps(changed))
            self.tool("apply", model, "--plan", path, "-o", self.folder / "changed.onnx")
            evidence = re.fullmatch(r"(\S+) (?:of the tolerance|finite) with it( and \d+ others)? in FP16, (\S+) of the tolerance without, "
                                    r"in sample (.*)", content["nodes"][index]["evidence"])
            self.assertIsNotNone(evidence, content["nodes"][index]["evidence"])
            own, together, without, sample = evidence.groups()
            if index == min(pinned):
                self.assert_distance(model, "fixed.onnx", sample, float(without))
            if own == "not" or together:
                continue
            self.assert_distance(model, "changed.onnx", sample, float(own))
            self.assertGreater(float(own), float(without))
        return list(pinned.values())

    def assert_distance(self, model: pathlib.Path, changed: str, sample: str, expected: float) -> None:
        """A check of that sample finds this distance, in the mean square over other roundings than those that it was found with."""
        squares, draws = [], set()
        for seed in range(2):
            result = self.folder / "part.json"
            self.tool("check", model, self.folder / changed, "--data", sample, "--json", result, "--seed", seed, code=None)
            worst = max(read_json(result)["outputs"], key=lambda output: output["distance"])
            squares.append(worst["distance"] ** 2)
            draws.add(worst["draws"])
        if draws == {1}:  # Clear of the tolerance, or lucky.
            return
        found = math.sqrt(sum(squares) / len(squares))
        # Eight draws of a near tie: among them may be one that is far off, or none.
        self.assertLess(expected, 3 * found + 0.05)
        self.assertGreater(expected, found / 3 - 0.05)


class Bf16Test(RescaleTest):
    def repair(self, repair: str, opset: int) -> tuple[dict, ModelProto]:
        case = generated_models.conv_net(opset)
        model, data = self.save(case.model), self.save_samples(case.samples)
        self.tool("fix", model, "--data", data, "-o", self.folder / "fixed.onnx", "--repair", repair, "--io", "fp16",
                  "--json", self.folder / "result.json", "--rel-l2", "0.1")
        fixed = onnx.load(self.folder / "fixed.onnx")
        onnx.checker.check_model(fixed, full_check=True)
        return read_json(self.folder / "result.json"), fixed

    def test_conv_is_bf16_from_opset_22_on(self) -> None:
        answer, fixed = self.repair("bf16", 23)
        self.assertIn("Conv", {node["op_type"] for node in answer["bf16_nodes"]})
        self.assertIn("CPU provider does not load", " ".join(answer["warnings"]))
        self.assertIn(onnx.TensorProto.BFLOAT16, {tensor.data_type for tensor in fixed.graph.initializer})
        for node in answer["bf16_nodes"]:
            self.assertIn(node["reason"], ("overflow", "weight-out-of-range", "cheaper-than-casts"))

    def test_conv_stays_fp32_before(self) -> None:
        answer, _ = self.repair("bf16", 17)
        self.assertNotIn("Conv", {node["op_type"] for node in answer["bf16_nodes"]})
        self.assertIn("Conv", {node["op_type"] for node in answer["fp32_nodes"]})

    def test_rescale_offers_no_bf16(self) -> None:
        answer, _ = self.repair("rescale", 23)
        self.assertEqual(answer["bf16_nodes"], [])


class GeneratedModelTest(RescaleTest):
    def test_every_model(self) -> None:
        for name, make in generated_models.CASES.items():
            with self.subTest(name):
                case = make()
                folder = self.folder / name
                folder.mkdir()
                model = self.save(case.model, f"{name}/model.onnx")
                data = self.save_samples(case.samples, f"{name}/samples")
                self.tool("fix", model, "--data", data, "-o", folder / "fixed.onnx", "--repair", "rescale", "--save-plan",
                          folder / "plan.json", "--json", folder / "result.json")
                answer = read_json(folder / "result.json")
                self.assertIn(answer["verdict"], ("right", "little-gained"))
                as_it_is = any("right as it is" in warning for warning in answer["warnings"])
                self.check_written(case.model, folder / "fixed.onnx", as_it_is)
                if name not in INEXACT and not case.model.functions:
                    self.assert_exact(model, folder / "plan.json", case.samples)


if __name__ == "__main__":
    unittest.main()
