"""Makes ONNX models safe to run in half precision.

fix does the whole job; load, scan, plan, apply and check are its stages. docs/python.md has examples.
"""

from ._api import (ModelLike, Progress, apply, check, diff, explain, fix, inspect, load, merge, plan, random_samples, scan)
from ._core import (CheckResult, ConstantPlan, CpuResult, FirstNonFinite, FixResult, Input, Inspection, Model, ModelErrors,
                    NodePlan, OutputError, Plan, Ranges, RangesDiff, SampleError, Samples, SkippedSample, TensorChange, TensorPlan,
                    TensorStats, Widening, __version__)
from ._errors import Error, InputError, InternalError, ModelWarning, UnavailableError, UsageError
from ._samples import SamplesLike, Transform

__all__ = [
    "CheckResult", "ConstantPlan", "CpuResult", "Error", "FirstNonFinite", "FixResult", "Input", "InputError", "Inspection",
    "InternalError", "Model", "ModelErrors", "ModelLike", "ModelWarning", "NodePlan", "OutputError", "Plan", "Progress", "Ranges",
    "RangesDiff", "SampleError", "Samples", "SamplesLike", "SkippedSample", "TensorChange", "TensorPlan", "TensorStats",
    "Transform", "UnavailableError", "UsageError", "Widening", "__version__", "apply", "check", "diff", "explain", "fix", "inspect",
    "load", "merge", "plan", "random_samples", "scan"
]
