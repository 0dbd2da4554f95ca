"""`autobatcher run --rehearse`: nothing reaches the provider, and the rest is as it would be."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autobatcher.cli.flags import UsageError
from autobatcher.cli.proxy_flags import ProxyFlags
from autobatcher.cli.rehearsal import like_of, make_emulator, rehearsal, rehearsed
from autobatcher.cli.settings_flags import settings_of
from autobatcher.client.batchable import batch_request
from autobatcher.engine.request import Request
from autobatcher.upstream.account import Account
from autobatcher.upstream.providers import CONSERVATIVE, KNOWN_PROFILES, OPENAI, TOGETHER, ProviderProfile

from .processes import run

ASK = """
import concurrent.futures, openai
client = openai.OpenAI(max_retries=0)
def ask(number):
    messages = [{"role": "user", "content": f"number {number}"}]
    return client.chat.completions.create(model="m", messages=messages).choices[0].message.content
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(*pool.map(ask, range(8)), sep=",")
raise SystemExit(3)
"""


def chat(text: str) -> Request:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    return batch_request(Account(base_url="http://x.test/v1", provider=OPENAI), "/v1/chat/completions", body)


def _flags(**given: Any) -> ProxyFlags:
    return ProxyFlags(**{"batch_window": 1.0, **given})


async def _ask(flags: ProxyFlags) -> tuple[str | None, list[Any]]:
    """The answer to one call, and the events of the batches that were submitted."""
    seen: list[dict[str, Any]] = []
    with rehearsal(flags) as rehearsed_:
        async with rehearsed_.flags.make_client(seen.append, http_client=rehearsed_.http_client) as client:
            answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    return answer.choices[0].message.content, [event for event in seen if event["event"] == "batch_submitted"]


@pytest.mark.real_time
def test_a_command_is_rehearsed_without_a_key_and_without_the_provider(tmp_path: Path) -> None:
    """The provider's name has no address, so a call that left this process would fail."""
    record = tmp_path / "events.jsonl"
    prices, summary, receipt = tmp_path / "prices.toml", tmp_path / "summary.md", tmp_path / "receipt.json"
    prices.write_text("m.input = 2\nm.output = 4\nm.batch = {input = 1, output = 2}\n")
    flags = ("--batch-window", "0.5", "--base-url", "https://provider.invalid/v1", "--events", str(record))
    money = ("--provider", "openai", "--prices", str(prices), "--receipt", str(receipt))
    done = run("run", "--rehearse", *flags, *money, "--", sys.executable, "-c", ASK, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 3
    assert done.stdout == ",".join(f"number {number}" for number in range(8)) + "\n"
    assert "8 answered, 0 failed" in done.stderr
    assert "nothing was sent to the provider, and nothing was paid" in done.stderr
    told = done.stderr.partition("What it would have cost")[2].split("\n")
    (batch,) = [line for line in told if line.startswith("batch 24h")]
    assert "$0.00" in batch
    assert "(50%)" in batch
    assert batch.endswith("all")
    assert [line.split()[1] for line in told if line.startswith("out ")] == ["2,400"]  # 300 an answer, and not its echo
    assert "no price for 8 x m (flex)" in done.stderr
    assert "--receipt is left alone" in done.stderr
    assert not summary.exists()
    assert not receipt.exists()
    assert "batch_completed" in [json.loads(line)["event"] for line in record.read_text().splitlines()]


async def test_every_provider_is_rehearsed_with_its_own_rules_below_any_base_url() -> None:
    urls = ("https://api.openai.com/v1", "https://api.groq.com/openai/v1", "http://gateway.test/my%20ai/")
    rehearsals = [{"base_url": url} for url in urls] + [{"provider": profile.name} for profile in KNOWN_PROFILES]
    for given in rehearsals:
        text, batches = await _ask(_flags(**given))
        assert (text, len(batches)) == ("hello", 1), given


async def test_a_rehearsal_learns_nothing_from_its_echoes() -> None:
    text = "a question of some length, so that its echo is a long one " * 20
    with rehearsal(_flags()) as rehearsed_:
        for _ in range(10):
            rehearsed_.count(chat(text))
        assert rehearsed_.plan.estimate.expected.output == 10 * 300
        assert rehearsed_.plan.requests == 10


async def test_a_journal_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or a rehearsal's echo would be taken for the answer that was paid for."""
    await _ask(_flags(journal=tmp_path / "journal.sqlite3"))
    assert not (tmp_path / "journal.sqlite3").exists()
    assert "--journal is only read" in capsys.readouterr().err


def test_a_key_that_is_there_stays_the_one_that_the_command_must_not_see() -> None:
    assert rehearsed(_flags(api_key="sk-secret")).api_key == "sk-secret"
    assert rehearsed(_flags()).api_key


def test_the_rules_are_those_of_the_provider_or_of_one_like_it() -> None:
    named = {profile.name: like_of(profile) for profile in KNOWN_PROFILES}
    assert (named["doubleword"], named["zhipu"]) == ("doubleword", "zhipu")
    assert named["nebius"] == named["deepinfra"] == named["conservative"] == "openai"
    assert like_of(replace(CONSERVATIVE, name="mine", mixes_models=True)) == "doubleword"
    assert like_of(replace(TOGETHER, name="mine")) == "together"


def test_a_provider_whose_files_nobody_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="--rehearse: no emulated provider takes the files of 'odd'"):
        make_emulator(ProviderProfile(name="odd", url_prefix="/odd"))


def test_a_provider_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="provider must be one of"), rehearsal(_flags(provider="acme")):
        pass


def test_batches_are_polled_often_since_they_are_done_at_once() -> None:
    assert settings_of(rehearsed(_flags()))["poll_interval_seconds"] == 0.1
    assert settings_of(rehearsed(_flags(poll_interval=0.05)))["poll_interval_seconds"] == 0.05
