#!/usr/bin/env python3
"""The short script that people write instead of using a tool: every tensor a graph output, its largest |x| in numpy.

usage: mark_all_in_process.py MODEL SAMPLES_DIR
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

model = onnx.load(sys.argv[1])
outputs = {output.name for output in model.graph.output}
tensors = [name for node in model.graph.node for name in node.output if name and name not in outputs]
model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]

largest: dict[str, float] = {}
for path in sorted(Path(sys.argv[2]).glob("*.npz")):
    for name, value in zip(names, session.run(None, dict(np.load(path)))):
        if value.dtype == np.float32 and value.size:
            largest[name] = max(largest.get(name, 0.0), float(np.abs(value).max()))
for name in sorted(largest, key=largest.__getitem__, reverse=True):
    print(f"{largest[name]:.6g}\t{name}")
