"""`autobatcher prices`, in-process: nothing is sent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from autobatcher.cli import main

MINE = '["m*"]\ninput = "0.15"\noutput = 10\ncached = "0.0755"\n1h = {input = 1, output = 2}\n'


@pytest.fixture(autouse=True)
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library has is its own affair; tests/money compares with it."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(MINE)
    return str(path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["prices", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    return lines


def test_each_model_has_a_line_for_each_lane_and_window_and_the_unknown_say_why(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(capsys, "mine", "other", "--prices", mine)
    assert lines == [
        "            input  cached  output  from      as of",
        "mine",
        "  realtime   0.15  0.0755   10.00  --prices  -",
        *unknown("flex"),
        *unknown("batch"),
        "  batch 1h   1.00       -    2.00  --prices  -",
        "other",
        *unknown("realtime"),
        *unknown("flex"),
        *unknown("batch"),
        "USD per million tokens",
    ]


def unknown(lane: str) -> list[str]:
    return [
        f"  {lane:<10}unknown: genai-prices is not installed: pip install",
        f"{'':12}'autobatcher[money]>=1'",
    ]


def test_without_a_model_all_that_are_known_are_shown_with_the_pages_that_say_so(
    mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(capsys, "--provider", "doubleword", "--prices", mine)
    assert "Qwen/Qwen3-Embedding-8B" in lines
    assert "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4" in lines
    assert "  batch 24h   0.15       -    1.20  provider  2026-04-13" in lines
    assert lines[-1] == "provider: github.com/doublewordai/doubleword-skill, SKILL.md"
    assert not [line for line in lines if "*" in line]


def test_json_has_an_object_for_each_line_with_prices_as_text(mine: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [json.loads(line) for line in _json(capsys, "mine", "--prices", mine)]
    assert rows[0] == {
        "model": "mine",
        "endpoint": "/v1/chat/completions",
        "lane": "realtime",
        "completion_window": None,
        "input": "0.15",
        "cached": "0.0755",
        "output": "10",
        "cache_write": None,
        "tiers": [],
        "source": "--prices",
        "detail": None,
        "as_of": None,
        "unknown": None,
    }
    found = [(row["lane"], row["completion_window"], row["input"]) for row in rows[1:]]
    assert found == [("flex", None, None), ("batch", None, None), ("batch", "1h", "1")]
    assert "autobatcher[money]" in rows[1]["unknown"]


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(["prices", "--json", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_the_provider_is_the_one_of_the_flags_or_of_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = "Qwen/Qwen3.5-4B", "  batch 24h   0.04       -    0.06  provider  2026-04-13"
    assert batch in told(capsys, model, "--base-url", "https://api.doubleword.ai/v1")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.doubleword.ai/v1")
    assert batch in told(capsys, model)
    assert batch not in told(capsys, model, "--provider", "openai")
    monkeypatch.setenv("AUTOBATCHER_PROVIDER", "doubleword")
    assert batch in told(capsys, model)


def test_a_server_of_which_nothing_is_known_has_no_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "--base-url", "http://127.0.0.1:9/v1"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "autobatcher prices: no model is known here: name one, or give --prices.\n"


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("[m]\ninput = 1\n", [], "prices.toml: 'm': output is missing"),
        (None, [], "prices.toml cannot be read: No such file or directory"),
        (MINE, ["--provider", "nobody"], "provider must be one of openai, "),
        (MINE, ["--base-url", "ftp://x"], "Must begin with http:// or https://"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    content: str | None, arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "prices.toml"
    if content is not None:
        path.write_text(content)
    assert main(["prices", "m", "--prices", str(path), *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
