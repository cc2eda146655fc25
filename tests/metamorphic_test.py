"""Relations of metamorphic.py on random graphs of random_graphs.py.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.

usage: metamorphic_test.py [--seeds N | --seeds FIRST-LAST | --seed N] [--relation NAME]... [--keep FOLDER]

Without arguments it tries 10 graphs. What fails is named with its seed: --seed runs that one alone, and --keep leaves its
model, samples and files where they can be looked at.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import os
import pathlib
import sys
import tempfile
import time
import traceback

try:
    from metamorphic import RELATIONS, Broken, Subject
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


def broken(seed: int, relations: list[str], keep: str | None) -> list[tuple[str, str, float]]:
    """Each relation with what is wrong with it, if anything, and the seconds that it took."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(keep or folder, str(seed))
        place.mkdir(parents=True)
        subject = Subject(seed, place)
        for name in relations:
            begin = time.monotonic()
            try:
                RELATIONS[name](subject)
                message = ""
            except Broken as error:
                message = str(error)
            except Exception:  # The test's own fault, or a model that the reference doesn't run: to be seen as well.
                message = traceback.format_exc(limit=-3)
            found.append((name, message, time.monotonic() - begin))
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tries relations on random graphs.")
    parser.add_argument("-v", action="store_true", help="taken from ctest, without effect")
    parser.add_argument("--seeds", default="10", help="how many, or FIRST-LAST")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--relation", action="append", choices=list(RELATIONS))
    parser.add_argument("--keep", help="a folder for the files of each seed")
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    first, _, last = arguments.seeds.rpartition("-")
    seeds = range(int(first), int(last) + 1) if first else range(int(last))
    if arguments.seed is not None:
        seeds = range(arguments.seed, arguments.seed + 1)
    relations = arguments.relation or list(RELATIONS)
    failures: dict[str, int] = collections.Counter()
    seconds: dict[str, float] = collections.Counter()
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = {pool.submit(broken, seed, relations, arguments.keep): seed for seed in seeds}
        for job in concurrent.futures.as_completed(jobs):
            for name, message, took in job.result():
                seconds[name] += took
                if message:
                    failures[name] += 1
                    print(f"{name} --seed {jobs[job]}: {message}\n", flush=True)
    for name in relations:
        print(f"{name}: {len(seeds)} graphs, {failures[name]} broken, {seconds[name]:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
