"""SIGKILL while `autobatcher batch` runs, and the same command again: OUT has every line once, each billed once.

A few seeds here; `nox -s batch_crashes` kills at a hundred points of a large file.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import trio

from tests.cli.processes import default_signals, environment
from tests.journal.crashes import Killer, Plan, billed, plan
from tests.journal.program import prompts

ASKED = int(os.environ.get("BATCH_CRASHES", "0"))
SEEDS = range(ASKED) if ASKED else (1, 5)
COUNT = int(os.environ.get("BATCH_LINES", "300"))
MAX_STARTS = 3

pytestmark = [pytest.mark.real_time, pytest.mark.timeout(300)]


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


class Writing(Killer):
    """Kills when OUT has so many bytes, for seeds that strike between two calls upstream."""

    out: Path
    bytes_written: int

    async def strike(self) -> None:
        while not self.has_killed:
            if self.out.exists() and self.out.stat().st_size >= self.bytes_written:
                self.kill()
            await trio.sleep(0.001)


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_killed_batch_that_is_run_again_has_every_line_once_and_pays_each_once(
    seed: int, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(_line(number, text) for number, text in enumerate(prompts(COUNT))))
    dice = random.Random(seed)
    is_writing = seed % 2 == 1
    killer = Writing(Plan("never", 1, "after", 0) if is_writing else plan(seed), batch_seconds=0.2)
    killer.out, killer.bytes_written = out, 0 if not is_writing else dice.randrange(1, 600 * COUNT)
    async with killer.serving() as base_url, trio.open_nursery() as nursery:
        if is_writing:
            nursery.start_soon(killer.strike)
        for _ in range(MAX_STARTS):
            code = await _run(killer, base_url, source, out)
            assert all(line.endswith("\n") and json.loads(line) for line in _lines(out))
            if code == 0:
                break
        nursery.cancel_scope.cancel()
    assert code == 0
    answers = {line["custom_id"]: line["response"]["body"] for line in map(json.loads, _lines(out))}
    assert len(_lines(out)) == len(answers) == COUNT
    for number, text in enumerate(prompts(COUNT)):
        assert text in answers[f"user's {number}"]["choices"][0]["message"]["content"]
    assert billed(killer.statistics()) == Counter(prompts(COUNT))
    assert not killer.statistics().running_batch_ids
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "out.jsonl"]


def _line(number: int, text: str) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    line = {"custom_id": f"user's {number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(line) + "\n"


def _lines(out: Path) -> list[str]:
    return out.read_text().splitlines(keepends=True) if out.exists() else []


async def _run(killer: Killer, base_url: str, source: Path, out: Path) -> int:
    quick = ("--batch-size", str(max(COUNT // 6, 50)), "--batch-window", "0.05", "--poll-interval", "0.05")
    command = [sys.executable, "-m", "tests.cli.batch_program", str(source), "-o", str(out), *quick]
    variables = environment(OPENAI_API_KEY="k", OPENAI_BASE_URL=base_url)
    process = await trio.lowlevel.open_process(command, env=variables, stderr=subprocess.PIPE)
    killer.pid = process.pid
    assert process.stderr is not None
    said = b"".join([piece async for piece in process.stderr])
    code = await process.wait()
    killer.pid = None
    assert code in (0, -9, 130), said.decode()
    if code == 130:
        assert re.search(rb"interrupted\. 60 lines: \d+ answered, .* without an answer yet\. .* runs? on at the", said)
        assert b"cost so far: " in said  # what runs on will be billed, too
        assert b"Run the same command again to go on: nothing is paid twice." in said
        assert b"may have been executed" not in said
    return code


class Interrupting(Killer):
    """Sends SIGINT in place of SIGKILL."""

    def kill(self) -> None:
        if not self.has_killed and self.pid is not None:
            self.has_killed = True
            os.kill(self.pid, signal.SIGINT)


async def test_an_interrupted_batch_says_how_to_go_on_and_does(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(_line(number, text) for number, text in enumerate(prompts(60))))
    killer = Interrupting(Plan("polling", 1, "after", 0), batch_seconds=1.0)
    async with killer.serving() as base_url:
        with default_signals():
            assert await _run(killer, base_url, source, out) == 130
        assert killer.statistics().running_batch_ids
        assert (tmp_path / "out.jsonl.journal").exists()
        assert await _run(killer, base_url, source, out) == 0
    assert billed(killer.statistics()) == Counter(prompts(60))
    assert len(_lines(out)) == 60
