"""What a target is: cases from a seed, and a door that takes them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from typing import Any

from .watch import Watch

Case = Any
"""One input. Its `repr` is enough to write it down."""

Play = Callable[[list[Case]], None]
"""Gives the cases to the door. What is wrong is reported to the watch."""


@dataclass(frozen=True)
class Target:
    """A door that strangers reach.

    Attributes:
        cases: the cases of one round. The same random numbers give the same cases.
        open: opens the door for a visit of many rounds, and closes it.
    """

    name: str
    cases: Callable[[Random], list[Case]]
    open: Callable[[Watch], AbstractContextManager[Play]]
