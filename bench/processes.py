"""Runs a process within limits of time and memory, and measures it. Used by what bench/ has to run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MOST_MEMORY = 16 << 30  # A process is stopped here: marking every tensor of a small model has taken 20 GB.
# A run this long says enough by itself; its share of noise is small and its share of everyone's time is not.
ONCE_FROM_SECONDS = 60.0


@dataclass
class Outcome:
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    failure: str = ""
    code: int = 0  # of the last process
    skipped: str = ""  # why it was not run
    model_bytes: int = 0  # the size of the model's weights, where the peak is to be compared with it


def memory_limit(most: int = MOST_MEMORY) -> int:
    """At most what leaves the rest of the machine alive."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return min(most, int(line.split()[1]) * 1024 * 9 // 10)
    return most


def resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def run_process(command: list[str], outcome: Outcome, seconds_left: float, log: Path,
                allowed: Sequence[int] = (0,), most_memory: int = MOST_MEMORY,
                environment: Mapping[str, str] | None = None) -> float:
    """Runs one process to its end, or to a limit. An address-space limit would stop programs that only reserve
    memory, so the resident size is watched instead. What the process says goes to the file `log`. The peak is the
    largest one's of the process and those that it started and waited for."""
    limit, start = memory_limit(most_memory), time.monotonic()
    with open(log, "wb") as file:
        # A session of its own, so that a process can be stopped along with its children.
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, env=environment)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        elapsed = time.monotonic() - start
        if pid:
            break
        if not outcome.failure:
            if resident_bytes(process.pid) > limit:
                outcome.failure = f"out of memory at {limit >> 30} GB after {elapsed:.0f} s"
            elif elapsed > seconds_left:
                outcome.failure = f"stopped after {elapsed:.0f} s"
            if outcome.failure:
                os.killpg(process.pid, signal.SIGKILL)
        # Fine steps while a run is short, coarse ones later: waiting must not show in the time.
        time.sleep(min(0.02, 0.001 + elapsed / 200))
    process.returncode = os.waitstatus_to_exitcode(status)
    outcome.peak_bytes = max(outcome.peak_bytes, usage.ru_maxrss * 1024)
    outcome.code = process.returncode
    if process.returncode not in allowed and not outcome.failure:
        outcome.failure = f"failed: exit {process.returncode}"
        tail = log.read_text(errors="replace").splitlines()[-5:]
        print(*[f"  {line[:300]}" for line in tail], sep="\n", file=sys.stderr)
    return elapsed


def run_once(command: Sequence[object], seconds: float, log: Path, allowed: Sequence[int] = (0,)) -> Outcome:
    outcome = Outcome()
    outcome.seconds.append(run_process([str(word) for word in command], outcome, seconds, log, allowed))
    return outcome
