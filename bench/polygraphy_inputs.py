#!/usr/bin/env python3
"""Writes .npz samples as the one JSON file that `polygraphy run --load-inputs` reads. Not part of what is measured.

usage: polygraphy_inputs.py SAMPLES_DIR INPUTS_JSON
"""

import sys
from pathlib import Path

import numpy as np
from polygraphy.json import save_json

save_json([dict(np.load(path)) for path in sorted(Path(sys.argv[1]).glob("*.npz"))], sys.argv[2])
