"""Target: files and flags of the command line: fault plans, provider profiles, --config. Each ends with one line."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from autobatcher.cli import main

from .findings import place_of
from .mutation import SMALL, mutated_bytes, mutated_json
from .target import Case, Play, Target
from .watch import Watch

CASES = 12

PLAN = {
    "seed": 3,
    "faults": [
        {"level": "http", "operation": "files.create", "nth": [1], "status": 500, "headers": {"retry-after": "1"}},
        {"level": "batch", "first": 1, "ends": "failed", "error_lines": [1], "status_text": {"failed": "FAILED"}},
        {"level": "line", "kind": "fail", "lines": [1, 2], "probability": 0.5, "status": 429},
    ],
}
PROFILE = {
    "name": "mine",
    "base": "openai",
    "max_requests": 1000,
    "max_line_bytes": "unlimited",
    "url_prefix": "/v4",
    "completion_windows": ["24h", "7d"],
    "endpoints": ["/v1/embeddings"],
    "needs_model": True,
}
CONFIG = b"""batch-size = 100
poll-interval = "30s"
[serve]
max-queued-bytes = "64MB"
forward-keys = true
"""
REFUSED = ("--port", "99999")
"""No command starts with it, whatever the file says."""

FLAGS = ("--batch-size", "--poll-interval", "--max-queued-bytes", "--base-url", "--provider", "--completion-window")


@dataclass(frozen=True)
class FileCase:
    """A command, and the file that is its last argument; no file if its name is empty."""

    command: tuple[str, ...]
    name: str
    content: bytes


def target() -> Target:
    return Target("files", cases, _open)


def cases(random: Random) -> list[FileCase]:
    return [_case(random) for _ in range(CASES)]


def _case(random: Random) -> FileCase:
    match random.randrange(4):
        case 0:
            return FileCase(("emulate", *REFUSED, "--faults"), "plan.json", _json(PLAN, random))
        case 1:
            return FileCase(("serve", *REFUSED, "--api-key", "k", "--provider"), "mine.json", _json(PROFILE, random))
        case 2:
            return FileCase(("serve", *REFUSED, "--api-key", "k", "--config"), "it.toml", mutated_bytes(CONFIG, random))
        case _:
            odd = str(random.choice([value for value in SMALL if isinstance(value, str | int | float)]))
            flag = f"{random.choice(FLAGS)}={odd.encode('utf-8', 'replace').decode().replace(chr(0), '')}"
            return FileCase(("serve", *REFUSED, "--api-key", "k", flag), "", b"")


def _json(value: object, random: Random) -> bytes:
    return mutated_json(json.dumps(value).encode(), random, 1_000_000)


@contextmanager
def _open(watch: Watch) -> Iterator[Play]:
    with TemporaryDirectory(prefix="fuzz-files-") as folder:

        def play(commands: list[Case]) -> None:
            for case in commands:
                _run(case, Path(folder), watch)

        yield play


def _run(case: FileCase, folder: Path, watch: Watch) -> None:
    command = list(case.command)
    if case.name:
        path = folder / case.name
        path.write_bytes(case.content)
        command.append(str(path))
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(command)
    except BaseException as error:
        watch.report("files", f"{command[0]}: {place_of(error)}", f"{command} raised {error!r}")
        return
    said = err.getvalue()
    if code != 2 or len(said.splitlines()) != 1:
        watch.report("files", f"{command[0]}: exit code {code}", f"{command}: {out.getvalue()[:500]} {said[:2000]}")
    elif any(ord(letter) < 32 for letter in said[:-1]):
        watch.report("files", f"{command[0]}: control characters", f"{command}: {said[:2000]!r}")
