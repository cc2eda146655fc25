#!/usr/bin/env python3
"""What halfsafe's cost is measured against: every sample once through ONNX Runtime with its default options.

usage: plain_inference.py MODEL SAMPLES_DIR [--threads N] [--config KEY=VALUE...]

  --threads N          threads, default one per core
  --config KEY=VALUE   entries of the session's configuration, such as session.disable_prepacking=1
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime

parser = argparse.ArgumentParser(description="Runs every sample once through ONNX Runtime.")
parser.add_argument("model")
parser.add_argument("samples", type=Path)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--config", nargs="*", default=[], metavar="KEY=VALUE")
arguments = parser.parse_args()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = arguments.threads
for entry in arguments.config:
    options.add_session_config_entry(*entry.split("=", 1))
session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
for path in sorted(arguments.samples.glob("*.npz")):
    session.run(None, dict(np.load(path)))
