"""The instructions of a Dockerfile."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple


class Instruction(NamedTuple):
    """One instruction, such as `USER 65532`: its name in upper case, and all that follows on one line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """The arguments: of the exec form, or separated by spaces; without flags such as `--from=`."""
        if self.text.startswith("["):
            return [str(word) for word in json.loads(self.text)]
        return [word for word in self.text.split() if not word.startswith("--")]


def instructions(path: Path) -> list[Instruction]:
    """Read a Dockerfile."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Instruction(line.split()[0].upper(), line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def last_stage(found: list[Instruction]) -> list[Instruction]:
    """Those of the image itself: what is only built in an earlier stage is not in it."""
    begin = max(index for index, each in enumerate(found) if each.name == "FROM")
    return found[begin:]


def variables(stage: list[Instruction]) -> dict[str, str]:
    """What ENV sets."""
    pairs = (word.partition("=") for each in stage if each.name == "ENV" for word in each.words)
    return {name: value for name, _, value in pairs}
