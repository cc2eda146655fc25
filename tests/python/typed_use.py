"""What a user writes, for a type checker: every line has the type that it says."""

import pathlib

import numpy as np
from typing_extensions import assert_type

import halfsafe


def use(path: pathlib.Path, arrays: list["np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]) -> bool:
    model = halfsafe.load(path, opset=22)
    assert_type(model, halfsafe.Model)
    assert_type(model.inputs, list[halfsafe.Input])
    ranges = halfsafe.scan(model, arrays, transform=lambda array: {"x": array}, threads=2)
    assert_type(ranges["x"].abs_max, float)
    assert_type(ranges.overflowing(), list[str])
    plan = halfsafe.plan(model, halfsafe.merge([ranges]), repair="fp32")
    assert_type(plan.nodes[0].precision, str)
    check = halfsafe.check(model, halfsafe.apply(model, plan), ({"x": array} for array in arrays))
    assert_type(check.outputs[0].rel_l2, float)
    assert_type(check.plain, halfsafe.ModelErrors | None)
    fix = halfsafe.fix(path, arrays, progress=lambda stage, done, total: print(stage, done, total))
    assert_type(fix.model.to_bytes(), bytes)
    halfsafe.plan(model, ranges, repair="glue")  # type: ignore[arg-type]
    halfsafe.scan(3, arrays)  # type: ignore[arg-type]
    return fix.right
