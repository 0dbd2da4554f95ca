"""`autobatcher plan`: what an input file would become and cost."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tracemalloc
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from autobatcher.cli import main
from tests.harness import ask, open_harness

PRICES = """
["m"]
input = "1"
output = "10"
batch = {input = "0.5", output = "5"}
1h = {input = "0.75", output = "7.5"}

["long"]
input = "2"
output = "0"
batch = {input = "1", output = "0"}
"""


def line(number: int, body: dict[str, Any] | None = None, **fields: Any) -> str:
    asked = {
        "model": "m",
        "messages": [{"role": "user", "content": f"Say {number}."}],
        "max_tokens": 20,
        **(body or {}),
    }
    whole = {"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": asked, **fields}
    return json.dumps(whole)


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    path = tmp_path / "prices.toml"
    path.write_text(PRICES, encoding="utf-8")
    return ["--prices", str(path)]


def written(tmp_path: Path, lines: Iterable[str]) -> str:
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def planned(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["plan", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_it_tells_requests_batches_tokens_and_what_each_lane_costs(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(capsys, written(tmp_path, (line(number) for number in range(2_500))), *prices)
    assert (plan["requests"], plan["batches"], plan["bad_lines"]["count"]) == (2_500, 3, 0)
    read, wrote = plan["tokens"]["input"], plan["tokens"]["output"]
    assert 2_500 * 8 < read["low"] < read["expected"] < read["high"] < 2_500 * 30
    assert 0 < wrote["low"] < wrote["expected"] < wrote["high"] <= 2_500 * 20
    batch, flex, realtime = plan["costs"]
    listed = (Decimal(read["expected"]) + 10 * Decimal(wrote["expected"])) / 1_000_000
    assert Decimal(realtime["usd"]["expected"]) == listed
    assert Decimal(batch["usd"]["expected"]) == Decimal(batch["saving_usd"]) == listed / 2
    assert Decimal(batch["usd"]["low"]) < listed / 2 < Decimal(batch["usd"]["high"])
    assert (batch["lane"], batch["completion_window"], batch["priced_requests"]) == ("batch", "24h", 2_500)
    assert flex["usd"] is None
    assert [(each["lane"], each["model"]) for each in plan["unknown_prices"]] == [("flex", "m")]
    assert realtime["saving_usd"] is None


def test_it_tells_the_price_of_every_completion_window_that_is_sold(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(capsys, written(tmp_path, [line(1)]), *prices, "--provider", "doubleword")
    costs = {each["completion_window"]: each["usd"] for each in plan["costs"] if each["lane"] == "batch"}
    assert Decimal(costs["1h"]["expected"]) == Decimal(costs["24h"]["expected"]) * Decimal("1.5")


def test_batches_follow_the_rules_of_the_provider(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One model and one endpoint a file at OpenAI, any at Doubleword; and 50,000 embedding inputs."""
    embeddings = {"model": "m", "input": ["x"] * 2_000}
    body = json.dumps({"custom_id": "e", "method": "POST", "url": "/v1/embeddings", "body": embeddings})
    path = written(tmp_path, [line(1), line(2, {"model": "long"}), *[body] * 26])
    assert planned(capsys, path, *prices)["batches"] == 4
    assert planned(capsys, path, *prices, "--provider", "doubleword")["batches"] == 1
    assert planned(capsys, path, *prices, "--batch-size", "5")["batches"] == 8


def test_long_requests_cost_what_their_tier_costs(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each by its own length: the sum of many short ones is no long request."""
    pytest.importorskip("genai_prices")
    asks = {"model": "gpt-5.4", "max_tokens": 1}
    short = line(1, {**asks, "messages": [{"role": "user", "content": "word " * 1_000}]})
    long = line(2, {**asks, "messages": [{"role": "user", "content": "word " * 400_000}]})

    def cost(*lines: str) -> Decimal:
        return Decimal(planned(capsys, written(tmp_path, lines), *prices)["costs"][0]["usd"]["expected"])

    assert cost(*[short] * 400) == pytest.approx(400 * cost(short), rel=Decimal("0.01"))
    assert cost(long) > Decimal("1.5") * cost(*[short] * 400), "as many words, at the higher rate"
    assert cost(*[short] * 400, long) == pytest.approx(cost(*[short] * 400) + cost(long), rel=Decimal("0.01"))


BAD_LINES = [
    ("no JSON", "is no line of an input file"),
    ("[1, 2]", "is no line of an input file"),
    (json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions"}), "has no body"),
    (line(1, custom_id=None), "has no custom_id"),
    (line(1, method="GET"), 'needs the method "POST"'),
    (line(1, url="/v1/audio/speech"), "/v1/audio/speech"),
    (line(1, {"model": ""}), "names no model"),
    (line(1, {"stream": True}), "cannot stream"),
    ('{"custom_id": "1", "body": ' + "[" * 5_000, "is no line of an input file"),
]


def test_bad_lines_are_named_with_their_number_and_do_not_count(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line(0), "", *(bad for bad, _ in BAD_LINES), line(1)]
    path = written(tmp_path, lines)
    plan = planned(capsys, path, *prices, code=1)
    assert plan["requests"] == 2
    assert plan["bad_lines"]["count"] == len(BAD_LINES)
    for number, (said, (_, reason)) in enumerate(zip(plan["bad_lines"]["first"], BAD_LINES, strict=True), 3):
        assert said["line"] == number
        assert reason in said["reason"]
    assert main(["plan", path, *prices]) == 1
    text = capsys.readouterr().out
    assert text.startswith("2 requests, 1 batch\n")
    assert "line 3: is no line of an input file" in text


def test_a_file_without_any_good_line_is_told_shortly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", written(tmp_path, ["no JSON"] * 1_000)]) == 1
    text = capsys.readouterr().out
    assert text.startswith("0 requests, 0 batches\n")
    assert "and 980 more" in text


def test_what_is_unknown_is_told(tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    path = written(
        tmp_path,
        [line(1), line(2, {"model": "unheard-of"}), line(3, {"messages": [{"role": "user", "content": [picture]}]})],
    )
    assert main(["plan", path, *prices]) == 0
    text = capsys.readouterr().out
    assert "2 of 3" in text
    assert "no price for 1 x unheard-of (batch 24h, flex, realtime)" in text
    assert "a picture of unknown size, in 1 requests" in text
    assert all(len(row) <= 120 for row in text.splitlines())


def test_it_reads_gzip_by_the_name_and_standard_input(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "\ufeff" + "\r\n".join([line(1), line(2)])  # a byte order mark, and no line end at the end
    packed = tmp_path / "requests.jsonl.gz"
    packed.write_bytes(gzip.compress(content.encode()))
    assert planned(capsys, str(packed), *prices)["requests"] == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    assert planned(capsys, "-", *prices)["requests"] == 2


def test_a_mistyped_flag_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--jsom"]) == 2
    assert "Unknown option: --jsom" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"no gzip", gzip.compress(b"x" * 10_000, mtime=0)[:-20]])
def test_a_file_that_cannot_be_read_is_a_mistake_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    path = tmp_path / "requests.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    assert main(["plan", str(path)]) == 2
    told = capsys.readouterr().err
    assert "cannot be read: " in told
    assert "Errno" not in told


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autobatcher.cli.input_file._LONGEST_LINE", 200_000)

    def peak_bytes(lines: int) -> int:
        path = written(tmp_path, [*(line(number) for number in range(lines)), "x" * 3_000_000, line(1)])
        tracemalloc.start()
        try:
            plan = planned(capsys, path, *prices, code=1)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert plan["requests"] == lines + 1
            assert plan["bad_lines"]["first"] == [{"line": lines + 1, "reason": "is longer than 200,000 bytes"}]

    peak_bytes(1)  # what is imported and kept once
    assert peak_bytes(1_500) < peak_bytes(15) + 200_000


@pytest.mark.real_time
def test_the_answers_in_a_journal_make_it_exact(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal.sqlite3"

    async def session() -> None:
        quick: dict[str, Any] = {"batch_window_seconds": 0.05, "poll_interval_seconds": 0.05}
        async with open_harness() as harness, harness.client(journal=journal, **quick) as client:
            async with anyio.create_task_group() as nursery:
                for number in range(20):
                    nursery.start_soon(ask, client, f"Say {number}.")
            client.keep_for_rerun()

    anyio.run(session)
    path = written(tmp_path, [line(number, {"max_tokens": None}) for number in range(20)])
    before = planned(capsys, path, *prices)["tokens"]
    after = planned(capsys, path, *prices, "--journal", str(journal))["tokens"]
    assert after["input"]["expected"] == pytest.approx(8 * 20, abs=5)
    assert after["output"]["expected"] == pytest.approx(2 * 20, abs=5)
    assert after["input"]["high"] - after["input"]["low"] < before["input"]["high"] - before["input"]["low"]


def test_a_service_tier_is_not_planned_at_the_price_of_plain_real_time(
    tmp_path: Path, prices: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, [line(1), line(2, {"service_tier": "priority"})])
    costs = {(cost["lane"], cost["completion_window"]): cost for cost in planned(capsys, path, *prices)["costs"]}
    assert (costs["batch", "24h"]["priced_requests"], costs["realtime", None]["priced_requests"]) == (2, 1)
    assert costs["batch", "24h"]["list_price_usd"] is not None
