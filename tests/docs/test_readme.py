"""The README's examples are run as they stand, in processes of their own, against a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import environment
from tests.client.test_like_the_sdk import SURFACES as LIKE_THE_SDK
from tests.client.test_sync import SURFACES as SYNC

README = (Path(__file__).parents[2] / "README.md").read_text()
JOURNAL = (Path(__file__).parents[2] / "docs" / "journal.md").read_text()
PROVIDERS = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
MANY = (Path(__file__).parents[2] / "docs" / "many.md").read_text()
DEADLINES = (Path(__file__).parents[2] / "docs" / "deadlines.md").read_text()
PROGRESS = (Path(__file__).parents[2] / "docs" / "progress.md").read_text()
TRACING = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text()
TEXTS = README + JOURNAL + PROVIDERS + DEADLINES + MANY + PROGRESS + TRACING
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXTS, flags=re.DOTALL)
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


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[0])
def test_an_example_of_the_readme_runs(example: str, upstream: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "any"}
    here = example.replace("https://api.groq.com/openai/v1", upstream)
    command = [sys.executable, "-W", "error", "-c", here]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr == ""


def test_the_readmes_serve_section_serves(upstream: str) -> None:
    (command,) = re.findall(r"<!-- command: serve -->\n```bash\n(.*?)\n```", README, flags=re.DOTALL)
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
    ci = (Path(__file__).parents[2] / ".ci" / "run").read_text()
    (command,) = re.findall(r"<!-- command: tests -->\n```bash\n(.*?)\n```", README)
    assert command.endswith("nox --session tests")
    assert '"$NOX" --session tests' in ci


def test_the_table_of_surfaces_has_a_row_for_each_that_is_tested() -> None:
    table = (Path(__file__).parents[2] / "docs" / "surfaces.md").read_text()
    for surface in (*LIKE_THE_SDK, *(f"BatchOpenAISync: {surface}" for surface in SYNC)):
        assert f"| `{surface}` |" in table, "run `nox -s tables`"
