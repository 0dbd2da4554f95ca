"""What everybody said in a session, with the time: for those who look for the cause of a failure."""

from __future__ import annotations

import time
from pathlib import Path


class Diary:
    """Lines of the replicas, the events and the harness, in memory and in a file.

    Args:
        begun: from when its times count, in Unix seconds; None for now.

    Attributes:
        lines: in the order in which they were read.
    """

    def __init__(self, path: Path, begun: float | None = None) -> None:
        self.lines: list[str] = []
        self._begun = time.time() if begun is None else begun
        self._file = path.open("w", buffering=1)

    def write(self, who: str, text: str) -> None:
        line = f"{time.time() - self._begun:8.3f} {who:<10} {text}"
        self.lines.append(line)
        self._file.write(line + "\n")

    def since(self, moment: float) -> str:
        """A moment of `time.time()` as the diary tells it."""
        return f"{moment - self._begun:8.3f}"

    def about(self, *words: str) -> list[str]:
        """The lines that have one of the words in them."""
        return [line for line in self.lines if any(word in line for word in words)]

    def close(self) -> None:
        self._file.close()
