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
from autobatcher.upstream.providers import CONSERVATIVE, KNOWN_PROFILES, TOGETHER, ProviderProfile

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


def _flags(**given: Any) -> ProxyFlags:
    return ProxyFlags(**{"batch_window": 1.0, **given})


async def _ask(flags: ProxyFlags) -> tuple[str | None, list[Any]]:
    """The answer to one call, and the events of the batches that were submitted."""
    seen: list[dict[str, Any]] = []
    with rehearsal(flags) as (its_flags, http_client):
        async with its_flags.make_client(seen.append, http_client=http_client) as client:
            answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
    return answer.choices[0].message.content, [event for event in seen if event["event"] == "batch_submitted"]


@pytest.mark.real_time
def test_a_command_is_rehearsed_without_a_key_and_without_the_provider(tmp_path: Path) -> None:
    """The provider's name has no address, so a call that left this process would fail."""
    record = tmp_path / "events.jsonl"
    flags = ("--batch-window", "0.5", "--base-url", "https://provider.invalid/v1", "--events", str(record))
    done = run("run", "--rehearse", *flags, "--", sys.executable, "-c", ASK)
    assert done.returncode == 3
    assert done.stdout == ",".join(f"number {number}" for number in range(8)) + "\n"
    assert "8 answered, 0 failed" in done.stderr
    assert "nothing was sent to the provider, and nothing was paid" in done.stderr
    assert "batch_completed" in [json.loads(line)["event"] for line in record.read_text().splitlines()]


async def test_every_provider_is_rehearsed_with_its_own_rules_below_any_base_url() -> None:
    urls = ("https://api.openai.com/v1", "https://api.groq.com/openai/v1", "http://gateway.test/my%20ai/")
    rehearsals = [{"base_url": url} for url in urls] + [{"provider": profile.name} for profile in KNOWN_PROFILES]
    for given in rehearsals:
        text, batches = await _ask(_flags(**given))
        assert (text, len(batches)) == ("hello", 1), given


async def test_a_journal_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or a rehearsal's echo would be taken for the answer that was paid for."""
    await _ask(_flags(journal=tmp_path / "journal.sqlite3"))
    assert not (tmp_path / "journal.sqlite3").exists()
    assert "--journal is left alone" in capsys.readouterr().err


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
