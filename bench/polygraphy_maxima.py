#!/usr/bin/env python3
"""The second half of the Polygraphy workflow: loads what `polygraphy run --save-outputs` wrote, lists the largest |x|.

usage: polygraphy_maxima.py OUTPUTS        a file, or a folder with one file a sample
"""

import sys
from pathlib import Path

import numpy as np
from polygraphy.comparator import RunResults

path = Path(sys.argv[1])
largest: dict[str, float] = {}
for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
    for _, iterations in RunResults.load(str(file)):
        for iteration in iterations:
            for name, value in iteration.items():
                if value.dtype == np.float32 and value.size:
                    largest[name] = max(largest.get(name, 0.0), float(np.abs(value).max()))
for name in sorted(largest, key=largest.__getitem__, reverse=True):
    print(f"{largest[name]:.6g}\t{name}")
