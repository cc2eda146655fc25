"""What apply writes into the metadata of nodes for people who look at the model, held against the plan it came from.

HALFSAFE names the binary. Exits with 77 (skipped) where numpy, onnx or onnxruntime is missing.
"""

from __future__ import annotations

import os
import pathlib
import re
import unittest
from typing import Any

from support import ToolTest, onnx, read_json, session

import rescale_models

PREFIX = "halfsafe."


def findings(node: onnx.NodeProto) -> dict[str, str]:
    return {entry.key.removeprefix(PREFIX): entry.value for entry in node.metadata_props if entry.key.startswith(PREFIX)}


class FindingsTest(ToolTest):
    def fixed(self, name: str, *options: str) -> tuple[onnx.ModelProto, dict[str, Any], pathlib.Path]:
        """A model fixed with these options, the plan that was applied, and the original's path."""
        original = rescale_models.write_model(name, self.folder, 4) / "model.onnx"
        model = onnx.load(original)
        for node in model.graph.node:
            node.name = node.name or f"make_{node.output[0]}"
        onnx.save(model, original)
        plan, fixed = self.folder / "plan.json", self.folder / "fixed.onnx"
        self.tool("fix", original, "--data", original.parent / "samples", "-o", fixed, "--save-plan", plan, *options)
        return onnx.load(fixed), read_json(plan), original

    def test_wide_nodes_say_why(self) -> None:
        model, plan, _ = self.fixed("transformer_growing", "--repair", "fp32")
        by_name = {node.name: findings(node) for node in model.graph.node}
        wide = [node for node in plan["nodes"] if node["precision"] != "fp16"]
        self.assertTrue(wide)
        for node in wide:
            self.assertEqual({key: node[key] for key in ("precision", "reason", "evidence")},
                             {key: by_name[node["name"]].get(key) for key in ("precision", "reason", "evidence")})
        for node in plan["nodes"]:
            if node["precision"] == "fp16":
                self.assertNotIn("precision", by_name[node["name"]])

    def test_names_of_samples_that_are_no_utf_8(self) -> None:
        _, _, original = self.fixed("transformer_growing")
        samples = original.parent / "samples"
        for path in samples.iterdir():
            path.rename(os.fsdecode(os.fsencode(samples) + b"/\xff" + os.fsencode(path.name)))
        fixed = self.folder / "latin1.onnx"
        self.tool("fix", original, "--data", samples, "-o", fixed, "--repair", "fp32")
        evidence = [findings(node).get("evidence", "") for node in onnx.load(fixed).graph.node]
        self.assertTrue(all(isinstance(text, str) for text in evidence), evidence)  # Bytes where it isn't UTF-8.
        self.assertIn("\ufffd", "".join(evidence))

    def test_rescaled_results_say_by_what(self) -> None:
        model, plan, original = self.fixed("transformer_ln", "--repair", "rescale")
        exponents = {tensor["name"]: tensor["exponent"] for tensor in plan["tensors"] if tensor["exponent"]}
        self.assertTrue(exponents)
        results = {output for node in onnx.load(original).graph.node for output in node.output}
        said = {}
        for node in model.graph.node:
            for tensor, power in re.findall(r"(\S+) is stored times 2\^(-?\d+)(?:;|$)", findings(node).get("rescaled", "")):
                said[tensor] = -int(power)
        self.assertEqual(said, {name: e for name, e in exponents.items() if name in results})

    def test_inserted_nodes_say_what_for(self) -> None:
        model, _, original = self.fixed("transformer_growing", "--repair", "fp32")
        known = {node.name for node in onnx.load(original).graph.node}
        inserted = [node for node in model.graph.node if node.name not in known]
        self.assertTrue(inserted)
        for node in inserted:
            self.assertIn("inserted", findings(node), node.name)
        for node in model.graph.node:
            if node.name in known:
                self.assertNotIn("inserted", findings(node), node.name)

    def test_the_model_stays_one_that_tools_take(self) -> None:
        model, _, original = self.fixed("transformer_ln")
        self.assertEqual(model.ir_version, onnx.load(original).ir_version)
        onnx.checker.check_model(model, full_check=True)
        session(model)

    def test_can_be_left_out(self) -> None:
        with_findings, _, original = self.fixed("transformer_ln")
        self.tool("apply", original, "--plan", self.folder / "plan.json", "-o", self.folder / "bare.onnx", "--no-findings")
        bare = onnx.load(self.folder / "bare.onnx")
        self.assertFalse([entry for node in bare.graph.node for entry in node.metadata_props])
        for node in with_findings.graph.node:
            del node.metadata_props[:]
        self.assertEqual(with_findings.SerializeToString(deterministic=True), bare.SerializeToString(deterministic=True))

    def test_findings_of_an_earlier_run_go(self) -> None:
        model, _, original = self.fixed("transformer_ln")
        marked = onnx.load(original)
        for node in marked.graph.node:
            node.metadata_props.add(key="halfsafe.reason", value="an old one")
            node.metadata_props.add(key="source", value="line 7")
        old = self.folder / "old.onnx"
        onnx.save(marked, old)
        self.tool("fix", old, "--data", original.parent / "samples", "-o", self.folder / "again.onnx")
        again = onnx.load(self.folder / "again.onnx")
        for node in again.graph.node:
            self.assertNotEqual(findings(node).get("reason"), "an old one")
        self.assertEqual(sum(entry.key == "source" for node in again.graph.node for entry in node.metadata_props),
                         len(marked.graph.node))
        self.assertEqual(len(again.graph.node), len(model.graph.node))


if __name__ == "__main__":
    unittest.main()
