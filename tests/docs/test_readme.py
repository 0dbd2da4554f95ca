"""The examples of the README and of docs/ are run as they stand, in processes of their own, against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.cli.processes import environment
from tests.client.test_like_the_sdk import SURFACES as LIKE_THE_SDK
from tests.client.test_sync import SURFACES as SYNC
from tests.server.proxies import open_proxy

from .pages import ROOT, examples, printing_examples, text_of

README, MANY, SERVE, PROXY = (ROOT / "README.md").read_text(), *map(text_of, ("many.md", "serve.md", "proxy.md"))
EXAMPLES = examples()
PRINTING = {name: shown for name, *shown in printing_examples()}
START_SECONDS = 30


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """The base URL of `autobatcher emulate`, as its first line tells it."""
    command = [sys.executable, "-m", "autobatcher", "emulate", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        found = None
        for line in process.stdout:
            if found := re.search(r"http://[0-9.]+:\d+/v1", line):
                break
        assert found is not None, "the emulator told no URL"
        yield found[0]
        process.terminate()
        assert process.wait(START_SECONDS) == 0


def test_the_pages_have_examples() -> None:
    assert sum(name.startswith("README") for name in EXAMPLES) == 2
    assert len(EXAMPLES) >= 15
    assert len(PRINTING) == 3


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_runs(example: str, upstream: str, tmp_path: Path) -> None:
    here = example.replace("https://api.groq.com/openai/v1", upstream)
    here = here.replace('"https://api.doubleword.ai/v1"', f'"{upstream}", provider="doubleword"')  # its host says whose
    done = _run(here, tmp_path, OPENAI_BASE_URL=upstream, OPENAI_API_KEY="any")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr == ""


@pytest.mark.parametrize(("example", "output"), PRINTING.values(), ids=PRINTING)
def test_an_example_prints_what_the_page_shows(example: str, output: str, tmp_path: Path) -> None:
    done = _run(example, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, output, "")


def _run(example: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", example]
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=100, cwd=directory
    )


@pytest.mark.parametrize(
    ("page", "name", "setting", "last"),
    [
        ("tutorial.md", "real thing", "max_cost=1,", " What is 19 + 19?"),
        ("notebooks.md", "cell", "max_cost=10,", "40 answers, 0 failed"),
        ("notebooks.md", "without await", "max_cost=10,", "19 What is 19 + 19?"),
    ],
    ids=["tutorial", "notebook", "notebook without await"],
)
def test_what_a_page_writes_for_a_provider_runs(
    page: str, name: str, setting: str, last: str, upstream: str, tmp_path: Path
) -> None:
    (example,) = re.findall(rf"<!-- example: {name} -->\n```python\n(.*?)```", text_of(page), flags=re.DOTALL)
    quick = f"{setting} provider='openai', batch_window_seconds=0.2, poll_interval_seconds=0.2,"
    here = example.replace(setting, quick).replace("range(20_000)", "range(40)")
    here = re.sub(r",\s+progress=True", "", here)
    if "asyncio.run(" not in here:  # a cell
        here = f"import asyncio\nasync def main():\n{textwrap.indent(here, ' ' * 4)}\nasyncio.run(main())"
    done = _run(here, tmp_path, OPENAI_BASE_URL=upstream, OPENAI_API_KEY="any")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{last}\n" in done.stdout


def test_the_example_of_background_responses_gets_one_through_the_proxy(tmp_path: Path) -> None:
    (example,) = re.findall(r"<!-- example: background -->\n```python\n(.*?)```", PROXY, flags=re.DOTALL)

    async def told() -> str:
        with trio.fail_after(START_SECONDS):
            async with open_proxy() as proxy:
                run = partial(_run, example, tmp_path, OPENAI_BASE_URL=f"{proxy.url}/v1", OPENAI_API_KEY="any")
                return (await trio.to_thread.run_sync(run)).stdout

    assert trio.run(told) == "completed Hello!\n"


def test_the_command_of_the_page_of_serve_serves(upstream: str) -> None:
    (command,) = re.findall(r"<!-- command: serve -->\n```bash\n(.*?)\n```", SERVE, flags=re.DOTALL)
    assert "--base-url https://api.doubleword.ai/v1" in command
    here = command.replace("https://api.doubleword.ai/v1", upstream).replace("--port 8080", "--port 0")
    quick = here.replace("--batch-window 60", "--batch-window 0.2").replace("--poll-interval 10", "--poll-interval 0.2")
    script = quick.replace("autobatcher ", f"exec {sys.executable} -m autobatcher ", 1)
    with subprocess.Popen(
        ["bash", "-c", script],
        env=environment(DOUBLEWORD_API_KEY="any"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        (url,) = re.findall(r"(http://\S+/v1) ->", process.stderr.readline())
        exported = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "dummy"}
        ask = (
            "import openai; print(openai.OpenAI().chat.completions.create(model='m', "
            "messages=[{'role': 'user', 'content': 'through the proxy'}]).choices[0].message.content)"
        )
        done = subprocess.run([sys.executable, "-c", ask], env=exported, capture_output=True, text=True, timeout=40)
        process.terminate()
        events, _ = process.communicate(timeout=START_SECONDS)
        assert process.returncode == 0
    assert "through the proxy" in done.stdout, done.stderr
    assert '"benchmark_id": "bench-2026-04-14"' in events


@pytest.mark.skipif(shutil.which("jq") is None, reason="the commands use jq")
def test_the_commands_for_a_file_of_questions_answer_them(upstream: str, tmp_path: Path) -> None:
    (commands,) = re.findall(r"<!-- command: jq -->\n```bash\n(.*?)\n```", MANY, flags=re.DOTALL)
    (tmp_path / "questions.txt").write_text('What is 2 + 2?\nWhat is "é"?\n')
    script = commands.replace("autobatcher ", f"{sys.executable} -m autobatcher ", 1)
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        env=environment(OPENAI_BASE_URL=upstream, OPENAI_API_KEY="any", AUTOBATCHER_POLL_INTERVAL="0.2"),
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # nothing failed
    answers = dict(line.split("\t") for line in (tmp_path / "answers.tsv").read_text().splitlines())
    assert answers.keys() == {"line-1", "line-2"}
    assert '"é"' in answers["line-2"]


def test_the_readmes_test_command_is_the_one_of_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    (command,) = re.findall(r"<!-- command: tests -->\n```bash\n(.*?)\n```", README)
    assert command.endswith("nox --session tests")
    assert '"$NOX" --session tests' in ci


def test_the_table_of_surfaces_has_a_row_for_each_that_is_tested() -> None:
    table = text_of("surfaces.md")
    for surface in (*LIKE_THE_SDK, *(f"BatchOpenAISync: {surface}" for surface in SYNC)):
        assert f"| `{surface}` |" in table, "run `nox -s tables`"
