"""Deadlines and lanes on the command line, in variables and in the file of --config."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.processes import emulator, find_url, read_until, run, started

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
ASK = (
    "import openai, sys\n"
    f"raw = openai.OpenAI().chat.completions.with_raw_response.create(**{CHAT!r})\n"
    "print(raw.headers['x-autobatcher-lane'])\n"
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """Its batches take an hour."""
    with emulator("--batch-seconds", "3600") as url:
        yield url


@pytest.mark.full_price
def test_serve_takes_a_deadline_as_a_flag_and_lanes_as_a_variable(upstream: str) -> None:
    flags = ("--port", "0", "--base-url", upstream, "--api-key", "k", "--deadline", "5m")
    with started("serve", *flags, AUTOBATCHER_LANES="batch,realtime") as process:
        url = find_url(read_until(process, "stderr", "/v1 ->"))
        answer = httpx.post(f"{url}/chat/completions", json=CHAT, timeout=30)
        assert (answer.status_code, answer.headers["x-autobatcher-lane"]) == (200, "realtime")


def test_run_takes_both_from_a_file_and_counts_the_lanes(upstream: str, tmp_path: Path) -> None:
    config = tmp_path / "autobatcher.toml"
    config.write_text('deadline = "5m"\nlanes = ["batch", "flex"]\nprovider = "openai"\n')
    flags = ("--config", str(config), "--base-url", upstream, "--api-key", "k")
    done = run("run", *flags, "--", sys.executable, "-c", ASK)
    assert (done.returncode, done.stdout) == (0, "flex\n"), done.stderr
    assert "1 flex (0 deadlines missed)" in done.stderr
