#!/usr/bin/env python3
"""What halfsafe's cost is measured against: every sample once through ONNX Runtime with its default options.

usage: plain_inference.py MODEL SAMPLES_DIR
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
for path in sorted(Path(sys.argv[2]).glob("*.npz")):
    session.run(None, dict(np.load(path)))
