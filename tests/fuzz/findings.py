"""What a round found, and whose code is behind a stack."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

ROOT = Path(__file__).resolve().parents[2]
OURS = str(ROOT / "autobatcher")
NOT_UNDER_TEST = (str(ROOT / "tests"), str(ROOT / "autobatcher" / "emulator"))
LOOPS = ("trio/_core/_run.py", "asyncio/base_events.py")
"""Below these is who started the loop, not what it does."""


@dataclass(frozen=True)
class Finding:
    """Something that must not be.

    Attributes:
        kind: "block", "memory", "defect", ...
        where: with the kind, what makes two findings the same one.
        text: for a reader; may have many lines.
    """

    kind: str
    where: str
    text: str

    @property
    def signature(self) -> tuple[str, str]:
        return self.kind, self.where


def where_of(stack: traceback.StackSummary) -> str | None:
    """The innermost place of this repository in a stack; None if that is the emulator or a test, not what is tested."""
    for frame in reversed(stack):
        if frame.filename.startswith(NOT_UNDER_TEST):
            return None
        if frame.filename.startswith(OURS):
            return f"{Path(frame.filename).relative_to(ROOT)}:{frame.name}"
        if frame.filename.endswith(LOOPS):
            break
    return "a library"


def stack_of(frame: FrameType) -> traceback.StackSummary:
    """The stack that ends in `frame`, without reading source files: the other thread goes on meanwhile."""
    stack = traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False)
    stack.reverse()  # as in tracebacks: the innermost last
    return stack


def place_of(error: BaseException) -> str:
    """The type of an exception, and the innermost place of ours that it passed through."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__} in {_innermost(error.__traceback__)}"


def is_sdks_own(error: BaseException) -> bool:
    """Whether the SDK raised it while it read an answer, as it does if a real-time answer has the same bytes."""
    names = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    known = [name for name in names if name.startswith(OURS) or "/openai/" in name]
    return bool(known) and not known[-1].startswith(OURS)


def _innermost(trace: TracebackType | None) -> str:
    names = [frame for frame in traceback.extract_tb(trace) if frame.filename.startswith(OURS)]
    return f"{Path(names[-1].filename).relative_to(ROOT)}:{names[-1].name}" if names else "a library"
