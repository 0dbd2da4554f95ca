"""SIGKILL at a point given by a seed, and a rerun: all answers arrive, each billed once.

A few seeds here; `nox -s crashes` runs fifty and more of each kind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.cli.processes import environment
from tests.journal.crashes import Killer, billed, plan
from tests.journal.program import prompts
from tests.journal.proxy import Proxy

ASKED = int(os.environ.get("CRASHES", "0"))
SEEDS = range(ASKED) if ASKED else (1, 2, 4, 6)
PROXY_SEEDS = range(ASKED) if ASKED else (2, 6)
COUNT = 60
MAX_STARTS = 4
"""A process is killed once, so more than two starts would be a bug of its own."""

pytestmark = [
    pytest.mark.real_time,
    pytest.mark.timeout(120),
    # httpx leaves a body's generator open if the proxy dies before the body is sent
    pytest.mark.filterwarnings("ignore:.*ByteStream.__aiter__:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


def check(killer: Killer, count: int = COUNT) -> None:
    statistics = killer.statistics()
    assert billed(statistics) == Counter(prompts(count))
    assert not statistics.running_batch_ids
    assert not statistics.input_file_ids


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_killed_program_that_is_run_again_has_every_answer_and_pays_each_once(
    seed: int, tmp_path: Path
) -> None:
    killer, out = Killer(plan(seed), batch_seconds=0.2), tmp_path / "answers.json"
    with trio.fail_after(100):
        async with killer.serving() as base_url:
            arguments = (base_url, str(tmp_path / "journal.sqlite3"), str(out), str(COUNT))
            for _ in range(MAX_STARTS):
                if await _run_program(killer, *arguments) == 0 or _has_come_to_its_end(tmp_path):
                    break
            answers = json.loads(out.read_text())
            assert len(answers) == COUNT
            assert all(text in answer for text, answer in zip(prompts(COUNT), answers, strict=True))
            check(killer)


def _has_come_to_its_end(directory: Path) -> bool:
    """Whether the killed program had finished everything except its exit."""
    return (directory / "answers.json").exists() and not [*directory.glob("*.unended")]


async def _run_program(killer: Killer, *arguments: str) -> int:
    command = [sys.executable, "-m", "tests.journal.program", *arguments]
    process = await trio.lowlevel.open_process(command, env=environment(), stdout=subprocess.PIPE)
    killer.pid = process.pid
    assert process.stdout is not None
    async for piece in process.stdout:
        for word in piece.decode().split():
            killer.said(word)
    await process.wait()
    killer.pid = None
    assert process.returncode in (0, -9), process.returncode
    return process.returncode


@pytest.mark.parametrize("seed", PROXY_SEEDS)
async def test_a_killed_proxy_that_is_started_again_has_every_answer_and_pays_each_once(
    seed: int, tmp_path: Path
) -> None:
    killer = Killer(plan(seed), batch_seconds=0.2)
    with trio.fail_after(100):
        async with killer.serving() as base_url:
            proxy = Proxy(killer, base_url, tmp_path / "journal.sqlite3")
            answers: dict[int, str] = {}

            async def visit(number: int, text: str) -> None:
                body = {"model": "m", "messages": [{"role": "user", "content": text}]}
                answers[number] = await proxy.ask(body)

            async with proxy.running(), trio.open_nursery() as nursery:
                for number, text in enumerate(prompts(COUNT)):
                    nursery.start_soon(visit, number, text)
            assert all(text in answers[number] for number, text in enumerate(prompts(COUNT)))
            check(killer)
