"""One library on one bad day: an emulator, and a process that asks it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autobatcher.emulator import BatchUpstream

from .cell import Cell, count
from .faults import BadDay
from .peers import POLL_SECONDS, PROGRAMS, Peer

START_SECONDS = 120.0
"""How long a process may take for its imports and for its end, on a machine that is busy."""


def run_day(peer: Peer, python: Path, day: BadDay) -> Cell:
    """What came of it. Never raises because of the library."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="field-", ignore_cleanup_errors=True) as folder,
        BatchUpstream(batch_seconds=day.batch_seconds, faults=day.faults) as upstream,
    ):
        try:
            told = _told(peer, python, day, upstream.base_url, folder)
        except (ValueError, OSError, subprocess.SubprocessError) as error:
            return Cell(failure=f"{type(error).__name__}: {error}"[:300])
        while upstream.statistics().running_batch_ids:  # they may be billed still
            time.sleep(0.2)
        billed = Counter(each.text for each in upstream.ledger())
    return count(day, told["answers"], told["errors"], billed, time.monotonic() - began)


def weigh(peer: Peer, python: Path) -> dict[str, Any]:
    """Its version, its lines, and how many distributions are installed with it. Never raises because of the library."""
    try:
        return _last_line(_run(python, [str(PROGRAMS / "weigh.py"), *peer.weighed], START_SECONDS))
    except (ValueError, OSError, subprocess.SubprocessError):
        return {"version": "(cannot be installed)", "lines": 0, "distributions": 0}


def _told(peer: Peer, python: Path, day: BadDay, base_url: str, folder: str) -> dict[str, Any]:
    job = {
        "base_url": base_url,
        "folder": folder,
        "prompts": day.prompts,
        "poll_seconds": peer.poll_seconds / 10 if day.is_outage else POLL_SECONDS,
        "limit_seconds": day.limit_seconds,
    }
    limit = day.limit_seconds + START_SECONDS
    first = _run(python, [str(peer.path), json.dumps({**job, "ends": day.ends})], limit)
    if day.ends != "killed":
        return _last_line(first)
    if first.returncode != -signal.SIGKILL:
        raise ValueError(f"was not killed: {first.stderr[-300:]}")
    return _last_line(_run(python, [str(peer.path), json.dumps(job)], limit))


def _run(python: Path, arguments: Sequence[str], limit: float) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AUTOBATCHER_"))}
    # In "/", where there is no other autobatcher to import.
    return subprocess.run(
        [str(python), *arguments], cwd="/", env=kept, capture_output=True, text=True, timeout=limit, check=False
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise ValueError(f"exit code {done.returncode}: {done.stderr[-300:]}") from None
    return told
