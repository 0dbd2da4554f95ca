"""What estimates learn from answers."""

from __future__ import annotations

import json
import lzma
import random
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from autobatcher.emulator.answers import answer
from autobatcher.money.calibration import LEAST_OUTPUT, MAX_JOBS, MAX_MODELS, TEMPLATE_TOKENS, Calibration
from autobatcher.money.estimate import Estimate
from autobatcher.money.usage import Usage, usage_of

CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"
FILES = Path(__file__).parent / "files"
"""Requests of three kinds, and their `usage`, made for this purpose: no real file was at hand.

chat: translations between eight languages, functions of Python's standard library to explain, summaries, talk. The
languages are our own sentences, the rest is from our documentation. classification: messages to a shop, answered in a
dozen tokens. embeddings: paragraphs, functions and sentences, alone and in lists. Each has 1,100 lines in random order.
Tokens were counted with the vocabularies o200k, of Qwen, and cl100k, and with OpenAI's marks around messages. What an
answer would say was put together from the same texts, and its length counted.
"""


class Exchange(NamedTuple):
    model: str
    endpoint: str
    body: bytes
    usage: Usage


def exchanges_of_file(name: str) -> Iterator[Exchange]:
    for line in lzma.decompress((FILES / f"{name}.jsonl.xz").read_bytes()).splitlines():
        row = msgspec.json.decode(line)
        usage = usage_of(line)
        assert usage is not None
        yield Exchange(row["body"]["model"], row["url"], json.dumps(row["body"]).encode(), usage)


def emulated() -> Iterator[Exchange]:
    """Calls of all kinds, and what the emulator bills for them."""
    rng = random.Random(1)
    texts = ["Say something about trains. ", "Was ist ein Zug? ", "电车在哪里。"]
    for number in range(4_400):
        text = rng.choice(texts) * rng.randint(1, 30)
        kind = number % 4
        endpoint = (CHAT, RESPONSES, EMBEDDINGS, COMPLETIONS)[kind]
        body: dict[str, Any] = {"model": f"model-{kind}"}
        match endpoint:
            case "/v1/chat/completions":
                body |= {"messages": [{"role": "user", "content": text}], "max_tokens": 40, "n": rng.randint(1, 2)}
            case "/v1/completions":
                body |= {"prompt": [text] * rng.randint(1, 3), "max_tokens": 16}
            case _:
                body |= {"input": text}
        written = json.dumps(body).encode()
        usage = usage_of(answer(endpoint, written, 0).body)
        assert usage is not None
        yield Exchange(f"model-{kind}", endpoint, written, usage)


def learned(exchanges: Iterable[Exchange]) -> Calibration:
    calibration = Calibration()
    for exchange in exchanges:
        calibration.observe(*exchange)
    return calibration


def planned(calibration: Calibration, exchanges: Iterable[Exchange]) -> tuple[Estimate, Usage]:
    """What was planned, and what came."""
    plan, billed = Estimate(), Usage()
    for model, endpoint, body, usage in exchanges:
        plan = plan.plus(calibration.estimate(model, endpoint, body))
        billed = billed.plus(usage)
    return plan, billed


@pytest.mark.parametrize("name", ["chat", "classification", "embeddings"])
def test_after_a_hundred_answers_a_thousand_are_planned_within_a_tenth(name: str) -> None:
    exchanges = list(exchanges_of_file(name))
    for begin in (0, 550):  # whichever come first
        turned = exchanges[begin:] + exchanges[:begin]
        plan, billed = planned(learned(turned[:100]), turned[100:])
        assert plan.expected.input == pytest.approx(billed.input, rel=0.1)
        assert plan.expected.output == pytest.approx(billed.output, rel=0.1)
        assert plan.low.input <= billed.input <= plan.high.input
        assert plan.low.output <= billed.output <= plan.high.output


def test_the_traffic_of_the_emulator_is_planned_within_a_tenth() -> None:
    exchanges = list(emulated())
    for model in range(4):
        own = [exchange for exchange in exchanges if exchange.model == f"model-{model}"]
        plan, billed = planned(learned(own[:100]), own[100:])
        assert plan.expected.input == pytest.approx(billed.input, rel=0.1)
        assert plan.expected.output == pytest.approx(billed.output, rel=0.1)


def test_without_any_answer_the_band_says_that_little_is_known() -> None:
    for name in ("chat", "classification", "embeddings"):
        plan, billed = planned(Calibration(), exchanges_of_file(name))
        assert plan.low.input <= billed.input <= plan.high.input
        assert plan.low.output <= billed.output <= plan.high.output
        assert plan.expected.input == pytest.approx(billed.input, rel=0.15)


def test_no_request_exceeds_its_upper_bound() -> None:
    calibration = Calibration()
    files = (islice(exchanges_of_file(name), 300) for name in ("chat", "classification", "embeddings"))
    for exchange in chain(*files, islice(emulated(), 400)):
        most = calibration.most(*exchange[:3])
        assert exchange.usage.input <= most.input
        assert exchange.usage.output <= most.output
        estimate = calibration.estimate(*exchange[:3])
        assert estimate.most == most
        assert all(
            low <= high <= top for low, high, top in zip(estimate.low[::2], estimate.high[::2], most[::2], strict=True)
        )
        calibration.observe(*exchange)


def most_output(endpoint: str, calibration: Calibration | None = None, **fields: Any) -> int:
    body = json.dumps({"model": "m", "messages": [], **fields}).encode()
    return (calibration or Calibration()).most("m", endpoint, body).output


BOUNDS: list[tuple[str, dict[str, Any], int]] = [
    (CHAT, {"max_tokens": 10}, 10),
    (CHAT, {"max_completion_tokens": 10, "n": 3}, 30),
    (CHAT, {"max_completion_tokens": 10, "max_tokens": 20}, 20),  # a provider may read either
    (CHAT, {"max_output_tokens": 10}, LEAST_OUTPUT),  # not a field of this endpoint: it limits nothing
    (CHAT, {"max_tokens": None, "n": None}, LEAST_OUTPUT),
    (CHAT, {"max_tokens": True, "n": -1}, LEAST_OUTPUT),
    (CHAT, {"max_tokens": -1, "n": [3]}, LEAST_OUTPUT),  # means "no limit" to some
    (CHAT, {"max_tokens": "10000", "n": "2"}, 20_000),  # some servers take texts, and
    (CHAT, {"max_tokens": 1e5}, 100_000),  # numbers with a point
    (CHAT, {"max_tokens": 0}, LEAST_OUTPUT),  # means "no limit" to some
    (CHAT, {"max_tokens": 10, "prediction": {"content": "x" * 100}}, 10 + len('{"content": ""}') + 100),
    (RESPONSES, {"max_output_tokens": 10}, 10),
    (COMPLETIONS, {"max_tokens": 10, "prompt": ["a, b", 'c"d', "e"], "n": 2, "best_of": 4}, 120),
    (COMPLETIONS, {"max_tokens": 10, "prompt": [[1, 2, 3], [4]]}, 20),
    (COMPLETIONS, {"max_tokens": 10, "prompt": [1, 2, 3]}, 10),
    (EMBEDDINGS, {"input": "x"}, 0),
    ("/v1/moderations", {"input": "x"}, 0),
]


@pytest.mark.parametrize(("endpoint", "fields", "bound"), BOUNDS)
def test_the_output_is_bounded_by_what_the_request_allows(endpoint: str, fields: dict[str, Any], bound: int) -> None:
    assert most_output(endpoint, **fields) == bound


def test_without_a_limit_the_output_is_bounded_by_twice_the_largest_answer() -> None:
    calibration = Calibration()
    calibration.observe("m", CHAT, b'{"messages": [], "n": 2}', Usage(10, 0, 8_000))
    assert most_output(CHAT, calibration) == LEAST_OUTPUT * 2 - 192 == 8_000
    calibration.observe("m", CHAT, b'{"messages": []}', Usage(10, 0, 5_000))
    assert most_output(CHAT, calibration) == 10_000
    assert most_output(RESPONSES, calibration) == LEAST_OUTPUT, "of another endpoint"


def test_the_input_is_bounded_by_the_bytes_of_the_request() -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "é" * 50}]}).encode()
    assert Calibration().most("m", CHAT, body).input == len(body) + TEMPLATE_TOKENS


def test_jobs_of_one_model_are_told_apart() -> None:
    """Labels and essays of one model: a mean of both would be wrong for both."""

    def asks(limit: int, told: str = "be kind") -> bytes:
        messages = [{"role": "system", "content": told}, {"role": "user", "content": "hello"}]
        return json.dumps({"messages": messages, "max_tokens": limit}).encode()

    calibration = Calibration()
    for _ in range(20):
        calibration.observe("m", CHAT, asks(5), Usage(20, 0, 2))
        calibration.observe("m", CHAT, asks(2_000), Usage(20, 0, 1_000))
        calibration.observe("m", CHAT, asks(2_000, "be brief"), Usage(20, 0, 100))
    for body, output in ((asks(5), 2), (asks(2_000), 1_000), (asks(2_000, "be brief"), 100)):
        assert calibration.estimate("m", CHAT, body).expected.output == output
    other = calibration.estimate("m", CHAT, asks(50, "be quick")).expected.output
    assert 25 < other <= 50, "a job that was never seen is judged by the others, within its limit"


def test_cached_and_reasoning_tokens_are_part_of_the_estimate() -> None:
    calibration = Calibration()
    for _ in range(10):
        calibration.observe("m", CHAT, b'{"messages": []}', Usage(1_000, 400, 100, 80))
    expected = calibration.estimate("m", CHAT, b'{"messages": []}').expected
    assert expected.cached == pytest.approx(0.4 * expected.input, rel=0.01)
    assert expected.reasoning == pytest.approx(0.8 * expected.output, rel=0.02)


def test_newer_answers_count_more() -> None:
    calibration = Calibration()
    for output in [100] * 2_000 + [200] * 2_000:
        calibration.observe("m", CHAT, b'{"messages": []}', Usage(10, 0, output))
    assert calibration.estimate("m", CHAT, b'{"messages": []}').expected.output == pytest.approx(200, rel=0.05)


def test_what_was_learned_can_be_kept() -> None:
    exchanges = list(exchanges_of_file("chat"))
    calibration = learned(exchanges[:100])
    kept = Calibration.decoded(calibration.encoded())
    assert kept.estimate(*exchanges[200][:3]) == calibration.estimate(*exchanges[200][:3])
    assert kept.observations(*exchanges[0][:2]) == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("damage", ["cut", "another version", "negative", "infinite", "shares", "a list"])
def test_what_is_damaged_counts_as_nothing_learned(damage: str) -> None:
    content = learned(list(exchanges_of_file("chat"))[:3]).encoded()
    stored = msgspec.json.decode(content)
    for _, seen in stored["models"] + stored["jobs"]:
        match damage:
            case "negative":
                seen[0][0] = -1.0
            case "infinite":
                seen[0][1] = 1e308
                seen[0][2] = 1e308
                seen[0][3] = -1e308
            case "shares":
                seen[2] = seen[0][2] * 2 + 1
    stored["format"] += damage == "another version"
    written = {"cut": content[:-9], "a list": b"[]"}.get(damage) or msgspec.json.encode(stored)
    assert not Calibration.decoded(written)


def test_it_stays_small_however_many_models_are_seen() -> None:
    """Callers of a proxy choose the names of models."""
    calibration = Calibration()
    for number in range(2_000):
        calibration.observe(f"m{number}" + "x" * 1_000, CHAT, b'{"messages": []}', Usage(10, 0, 10))
    assert len(calibration.encoded()) < (MAX_MODELS + MAX_JOBS) * 1_000
    assert calibration.observations("m1999" + "x" * 1_000, CHAT) == 1
    assert calibration.observations("m0" + "x" * 1_000, CHAT) == 0


def test_many_jobs_of_one_model_do_not_make_it_forget_another() -> None:
    calibration = Calibration()
    calibration.observe("rare", CHAT, b'{"messages": []}', Usage(10, 0, 10))
    for number in range(MAX_JOBS + 1):
        body = json.dumps({"messages": [{"role": "system", "content": f"you are {number}"}]}).encode()
        calibration.observe("m", CHAT, body, Usage(10, 0, 10))
    assert calibration.observations("rare", CHAT) == 1
