#!/usr/bin/env python3
"""Plain FP32 inference with ONNX Runtime: what a scan is measured against. Prints samples per second.

usage: plain.py MODEL SAMPLES_DIR cpu|cuda SECONDS

Samples are in memory and every shape has been run before the clock starts. On CUDA with the options that halfsafe uses.
"""

import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

model, samples, provider, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
CUDA = ("CUDAExecutionProvider", {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC",
                                  "arena_extend_strategy": "kSameAsRequested"})
providers = [CUDA, "CPUExecutionProvider"] if provider == "cuda" else ["CPUExecutionProvider"]
session = onnxruntime.InferenceSession(model, providers=providers)
if provider == "cuda" and session.get_providers()[0] != CUDA[0]:
    sys.exit("plain.py: no CUDA provider")
feeds = [dict(np.load(path)) for path in sorted(samples.glob("*.npz"))]
for feed in feeds * 2:
    session.run(None, feed)
start, runs = time.perf_counter(), 0
while time.perf_counter() - start < seconds:
    for feed in feeds:
        session.run(None, feed)
    runs += len(feeds)
print(runs / (time.perf_counter() - start))
