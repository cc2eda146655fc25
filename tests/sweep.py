"""Long lists of cases: CI takes a fixed tenth of each, and all where SWEEP=all stands in the environment (scripts/deep-check sweeps)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

Case = TypeVar("Case")
ALL = os.environ.get("SWEEP") == "all"


def tenth(cases: Iterable[Case]) -> list[Case]:
    """The first case and every tenth behind it, so that a list of any length has one."""
    return list(cases)[:: 1 if ALL else 10]
