#!/usr/bin/env python3
"""onnxconverter-common's automatic mixed precision, as its documentation calls it: the first sample is the feed that it validates
its choices on, with ONNX Runtime. Needs onnxconverter-common, onnx and onnxruntime.

usage: auto_mixed_precision.py MODEL SAMPLES_DIR RESULT
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnxconverter_common import auto_mixed_precision

model, samples, result = sys.argv[1:]
feed = dict(np.load(sorted(Path(samples).glob("*.npz"))[0]))
converted = auto_mixed_precision.auto_convert_mixed_precision(
    onnx.load(model), feed, rtol=1e-2, atol=1e-2, keep_io_types=True)
onnx.save(converted, result)
