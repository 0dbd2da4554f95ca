"""Many workers that share a journal, each killed at random moments and run again until it has ended well."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import trio

from tests.cli.processes import environment

from .worker import ended, texts

KILL_SECONDS = (0.3, 5.0)
"""After its start. A worker takes a second to import what it needs."""

END_SECONDS = 120.0
"""How long one that nobody kills may take."""


@dataclass(frozen=True)
class Job:
    """What the workers do.

    Attributes:
        count: how many texts each of them asks.
        most_kills: how often each is killed, at most.
        journal: where a worker keeps its batches; an empty text for nowhere.
        folder: for their answers.
    """

    seed: int
    workers: int
    count: int
    most_kills: int
    base_url: str
    journal: Callable[[int], str]
    folder: Path


async def run(job: Job) -> list[str]:
    """Run all of them to their end. Returns what went wrong with them, one line each."""
    failures: list[str] = []
    async with trio.open_nursery() as nursery:
        for number in range(job.workers):
            nursery.start_soon(_run_until_done, job, number, failures)
    return failures


async def _run_until_done(job: Job, number: int, failures: list[str]) -> None:
    dice = Random(f"{job.seed} {number}")
    moments = [dice.uniform(*KILL_SECONDS) for _ in range(dice.randint(1, job.most_kills))]
    for seconds in [*moments, None]:
        code, said = await _run_once(job, number, seconds)
        if code == 0 or ended(_answers(job, number)).exists():
            break
        if code != -signal.SIGKILL:
            failures.append(f"worker {number} ended with {code}: {said[-2000:]}")
    failures += _wrong_answers(job, number)


async def _run_once(job: Job, number: int, seconds: float | None) -> tuple[int, str]:
    """Its exit code and what it said. It is killed after so many seconds, if it has not ended by then."""
    command = [sys.executable, "-m", "tests.fleet.worker", job.base_url, job.journal(number)]
    command += [str(_answers(job, number)), str(number), str(job.count)]
    process = await trio.lowlevel.open_process(
        command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    said = b""
    with trio.move_on_after(seconds if seconds is not None else END_SECONDS):
        assert process.stderr is not None
        async for piece in process.stderr:
            said += piece
        await process.wait()
    process.kill()
    return await process.wait(), said.decode()


def _wrong_answers(job: Job, number: int) -> list[str]:
    path = _answers(job, number)
    if not path.exists():
        return [f"worker {number} has no answers"]
    answers = json.loads(path.read_text())
    wanted = {text: text for text in texts(number, job.count)}
    wrong = [text for text in wanted if text not in answers.get(text, "")]
    return [f"worker {number} has no or a wrong answer to {len(wrong)} texts: {wrong[:3]}"] if wrong else []


def _answers(job: Job, number: int) -> Path:
    return job.folder / f"answers-{number}.json"


def wrongly_billed(job: Job, billed: dict[str, list[str]]) -> dict[str, int]:
    """How often each text was billed that was not billed once."""
    counts = Counter({text: 0 for number in range(job.workers) for text in texts(number, job.count)})
    counts.update({text: len(batches) for text, batches in billed.items()})
    return {text: count for text, count in counts.items() if count != 1}
