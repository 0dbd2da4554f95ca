"""Who is asked: autobatcher and others who promise ordinary calls at batch prices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "peer-programs"
POLL_SECONDS = 0.2

OURS = "autobatcher"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A column.

    Attributes:
        program: the file in peer-programs that asks through it.
        weighed: its distribution, its package, and the pattern of the files of it that are about this.
        poll_seconds: its default.
        resumes: whether it documents a way to go on after the process was killed.
    """

    program: str
    weighed: tuple[str, str, str] = ("autobatcher", "autobatcher", "*.py")
    poll_seconds: float
    resumes: bool = False

    @property
    def path(self) -> Path:
        return PROGRAMS / self.program


PEERS = {
    OURS: Peer(program="ask_autobatcher.py", poll_seconds=5, resumes=True),
    "autobatcher 0.6": Peer(program="ask_autobatcher_0.py", poll_seconds=5),
    "autobatcher 0.12": Peer(program="ask_autobatcher_0.py", poll_seconds=5),
    "batchling": Peer(
        program="ask_batchling.py", weighed=("batchling", "batchling", "*.py"), poll_seconds=10, resumes=True
    ),
    "pydantic-ai": Peer(
        program="ask_pydantic_ai.py",
        weighed=("pydantic-ai-slim", "pydantic_ai", "*batch*.py"),
        poll_seconds=30,
        resumes=True,
    ),
    "inspect-ai": Peer(
        program="ask_inspect_ai.py", weighed=("inspect-ai", "inspect_ai", "*batch*.py"), poll_seconds=15
    ),
}
