"""Runs the examples of docs/python.md, one after the other, and those of the functions' own documentation."""

import doctest
import importlib.util
import os
import pathlib
import re
import tempfile
import unittest

import numpy as np

import halfsafe
import models
from models import TensorProto, helper, onnx

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs" / "python.md"


class ExamplesTest(unittest.TestCase):
    def setUp(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)

    def test_the_page(self):
        onnx.save(models.overflowing(), "model.onnx")
        os.mkdir("inputs")
        for index, sample in enumerate(models.samples(4)):
            np.save(f"inputs/{index}.npy", sample["x"])
        blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
        self.assertEqual(len(blocks), 3)
        scope = {}
        for block in blocks:
            needed = re.findall(r"^import (\w+)", block, flags=re.M)
            if all(importlib.util.find_spec(name) for name in needed):
                exec(compile(block, str(PAGE), "exec"), scope)
        self.assertTrue(scope["result"].right)
        self.assertTrue(scope["check"].right)
        onnx.checker.check_model("fixed.onnx", full_check=True)

    def test_documentation_of_functions(self):
        model = models.model_of([helper.make_node("MatMul", ["x", "w"], ["h"], "product"), helper.make_node("Relu", ["h"], ["y"], "relu")],
                                [("x", TensorProto.FLOAT, ["n", 64])], [("y", TensorProto.FLOAT, ["n", 64])],
                                [models.constant("w", np.random.default_rng(0).normal(0, 0.1, (64, 64)))])
        onnx.save(model, "model.onnx")
        loaded = halfsafe.load("model.onnx")
        samples = [{"x": np.ones((1, 64), np.float32)}]
        ranges = halfsafe.scan(loaded, samples)
        scope = {"halfsafe": halfsafe, "np": np, "model": loaded, "samples": samples, "ranges": ranges, "more_ranges": ranges,
                 "plan": halfsafe.plan(loaded, ranges)}
        halfsafe.apply(loaded, scope["plan"]).save("fixed.onnx")
        tried = 0
        for name in halfsafe.__all__:
            function = getattr(halfsafe, name)
            if not callable(function) or isinstance(function, type) or not getattr(function, "__module__", "").startswith("halfsafe"):
                continue
            self.assertTrue(function.__doc__, name)
            for test in doctest.DocTestFinder(recurse=False).find(function, name, globs=scope):
                result = doctest.DocTestRunner(verbose=False).run(test, clear_globs=False)
                self.assertEqual(result.failed, 0, name)
                tried += result.attempted
        self.assertGreater(tried, 10)


if __name__ == "__main__":
    unittest.main()
