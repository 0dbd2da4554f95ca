"""The same calls against every provider's dialect: answers arrive, each paid once, whatever they are called there."""

from __future__ import annotations

from typing import Any

import anyio
import openai
import pytest

from autobatcher import BatchOpenAI, BatchTimeoutError, ProviderProfile
from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from autobatcher.emulator.known_dialects import DIALECTS
from autobatcher.upstream.providers import KNOWN_PROFILES, profile_named
from tests.harness import MODEL, Harness, ask, open_harness, outcome_of, wait_for_event

OWN_WORDS = "a provider's own line urls, wrappers, statuses, counts, times, ids and missing calls"

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
PROFILES = {
    "voyage": ProviderProfile(name="voyage", endpoints=frozenset({EMBEDDINGS})),
    "litellm": profile_named("openai"),
}
"""For the dialects that no profile of the same name is for."""

BASE_URLS = {"zhipu": "http://upstream.test/api/paas/v4", "dashscope": "http://upstream.test/compatible-mode/v1"}

LIKE_ALL_BUT_MISTRAL = sorted(set(DIALECTS) - {"mistral"})
"""Mistral's gateway neither lists nor cancels."""


def profile_for(like: str) -> ProviderProfile:
    return PROFILES.get(like) or profile_named(like)


def client_of(harness: Harness, **settings: Any) -> BatchOpenAI:
    base_url = BASE_URLS.get(harness.like, "http://upstream.test/v1")
    return harness.client(**{"provider": profile_for(harness.like), "base_url": base_url, **settings})


async def embed(client: BatchOpenAI, text: str) -> list[float]:
    answer = await client.embeddings.create(model="e", input=text, encoding_format="float")
    return answer.data[0].embedding


async def make_calls(client: BatchOpenAI, endpoints: frozenset[str], count: int = 5) -> dict[str, Any]:
    """Chat calls and embeddings, as far as the provider has both; what came back, by the text that was sent."""
    answers: dict[str, Any] = {}

    async def keep(text: str, call: Any) -> None:
        answers[text] = await call(client, text)

    async with anyio.create_task_group() as group:
        for number in range(count):
            if CHAT in endpoints:
                group.start_soon(keep, f"chat {number}", ask)
            if EMBEDDINGS in endpoints:
                group.start_soon(keep, f"text {number}", embed)
    return answers


@pytest.mark.proves("faults", OWN_WORDS)
@pytest.mark.parametrize("like", list(DIALECTS))
async def test_every_providers_dialect_answers_each_call_once(like: str) -> None:
    async with open_harness(like, batch_seconds=30.0) as harness, client_of(harness, max_retries=0) as client:
        endpoints = profile_for(like).endpoints
        with anyio.fail_after(600):
            answers = await make_calls(client, endpoints)
        assert len(answers) == 5 * len({CHAT, EMBEDDINGS} & endpoints)
        assert all(text in answer for text, answer in answers.items() if text.startswith("chat"))
        statistics = harness.emulator.statistics()
        assert len(statistics.billed) == len(answers)
        assert set(statistics.billed.values()) == {1}
        assert statistics.uploads == statistics.batches_created


@pytest.mark.proves("faults", OWN_WORDS)
@pytest.mark.parametrize("like", list(DIALECTS))
async def test_every_providers_failed_line_reaches_its_caller_with_its_status(like: str) -> None:
    faults = FaultPlan((LineFault(kind="fail", lines=(1,), status=400, message="Too long by 12 tokens."),))
    async with open_harness(like, faults=faults) as harness, client_of(harness) as client:
        call = ask(client, "a") if CHAT in profile_for(like).endpoints else embed(client, "a")
        with anyio.fail_after(600):
            outcome = await outcome_of(call)
        assert isinstance(outcome, openai.BadRequestError)


@pytest.mark.proves("faults", OWN_WORDS)
@pytest.mark.parametrize("like", LIKE_ALL_BUT_MISTRAL)
async def test_every_providers_batch_is_cancelled_when_its_caller_leaves(like: str) -> None:
    async with open_harness(like, batch_seconds=1000.0) as harness, client_of(harness) as client:
        with anyio.move_on_after(20):
            await (ask(client, "a") if CHAT in profile_for(like).endpoints else embed(client, "a"))
        await anyio.sleep(20)
        (batch,) = harness.emulator.statistics().batches
        assert batch.status == "cancelled"


@pytest.mark.proves("faults", "the answer to POST /batches is lost")
@pytest.mark.parametrize("like", LIKE_ALL_BUT_MISTRAL)
async def test_every_providers_batch_whose_creation_got_no_answer_is_found_and_not_paid_twice(like: str) -> None:
    faults = FaultPlan((HttpFault(operation="batches.create", nth=(1,), lose_answer=True),))
    async with open_harness(like, faults=faults) as harness, client_of(harness) as client:
        await (ask(client, "a") if CHAT in profile_for(like).endpoints else embed(client, "a"))
        assert harness.emulator.statistics().batches_created == 1


async def test_a_batch_that_the_provider_cannot_cancel_is_told_of() -> None:
    async with open_harness("mistral", batch_seconds=1000.0) as harness, client_of(harness) as client:
        with anyio.move_on_after(20):
            await ask(client, "a")
        with anyio.fail_after(1000):
            await wait_for_event(harness, "batch_cancel_failed")


async def test_lines_and_batches_are_spelled_as_the_provider_spells_them() -> None:
    async with open_harness("zhipu") as harness, client_of(harness) as client:
        await make_calls(client, frozenset({CHAT, EMBEDDINGS}), count=1)
        statistics = harness.emulator.statistics()
        assert {line.url for line in statistics.lines} == {"/v4/chat/completions", "/v4/embeddings"}
        assert {batch.endpoint for batch in statistics.batches} == {"/v4/chat/completions", "/v4/embeddings"}
        assert {event["endpoint"] for event in harness.events_named("batch_completed")} == {CHAT, EMBEDDINGS}


async def test_an_emulated_provider_refuses_another_spelling() -> None:
    async with open_harness("zhipu") as harness, client_of(harness, provider="openai") as client:
        with pytest.raises(openai.APIError, match="has no batches"):
            await ask(client, "a")
        assert harness.emulator.statistics().billed == {}


async def test_a_completion_window_that_the_provider_does_not_offer_is_refused_before_anything_is_sent() -> None:
    async with open_harness("moonshot") as harness:
        async with client_of(harness, completion_window="1h") as client:
            with pytest.raises(
                openai.OpenAIError, match="'moonshot' accepts a completion_window of 12h to 7d, not '1h'"
            ):
                await ask(client, "a")
        async with client_of(harness, completion_window="3d") as client:
            assert "a" in await ask(client, "a")
        assert harness.emulator.statistics().uploads == 1


async def test_a_failed_batch_of_a_dialect_fails_its_callers_and_bills_nobody() -> None:
    faults = FaultPlan((BatchFault(ends="failed", error_message="No such model.", error_code="model_not_found"),))
    async with open_harness("novita", faults=faults) as harness, client_of(harness, max_retries=0) as client:
        with pytest.raises(openai.APIError, match="No such model"):
            await ask(client, "a")
        assert harness.emulator.statistics().billed == {}


@pytest.mark.proves("faults", "the cancellation of a batch that has ended is answered 400, 404, 409 or 500")
async def test_a_server_that_answers_500_to_a_late_cancellation_delays_nobody() -> None:
    """LiteLLM's proxy, where OpenAI says with a 400 that a completed batch cannot be cancelled."""
    faults = FaultPlan((HttpFault(operation="batches.retrieve", first=1, delay_seconds=50.0),))
    async with open_harness("litellm", batch_seconds=1.0, faults=faults) as harness:
        client = client_of(harness)
        async with client:
            with pytest.raises((BatchTimeoutError, openai.APITimeoutError)):
                await client.with_options(timeout=4.0).chat.completions.create(
                    model=MODEL, messages=[{"role": "user", "content": "a"}]
                )
            with anyio.fail_after(300):
                assert "b" in await ask(client, "b")
        assert 500 in harness.emulator.statistics().http_statuses


async def test_canned_text_reaches_whoever_asked() -> None:
    body = '{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    body += '"message":{"role":"assistant","content":"This is a mock."}}]}'
    async with open_harness(faults=FaultPlan((LineFault(kind="canned", body=body),))) as harness:
        async with harness.client() as client:
            assert [await ask(client, text) for text in ("a", "b")] == ["This is a mock."] * 2
        assert set(harness.emulator.statistics().billed.values()) == {1}


@pytest.mark.proves("faults", "a fifth of all requests and of all lines fail by chance")
@pytest.mark.parametrize("like", ["openai", "doubleword", "zhipu", "together"])
async def test_a_flaky_server_is_borne_and_paid_once_a_call(like: str) -> None:
    async with open_harness(like, faults=FaultPlan.flaky(7, 0.2), batch_seconds=10.0) as harness:
        async with client_of(harness, max_retries=10) as client:
            answers = await make_calls(client, profile_for(like).endpoints, count=10)
        assert len(answers) == 10 * len({CHAT, EMBEDDINGS} & profile_for(like).endpoints)
        billed = harness.emulator.statistics().billed
        assert len(billed) == len(answers)
        assert set(billed.values()) == {1}


def test_every_dialect_of_a_known_provider_has_a_profile() -> None:
    known = {profile.name for profile in KNOWN_PROFILES} | set(PROFILES)
    assert set(DIALECTS) <= known


@pytest.mark.parametrize("like", [like for like in DIALECTS if like not in PROFILES])
def test_a_profile_offers_nothing_that_its_dialect_refuses(like: str) -> None:
    profile, dialect = profile_named(like), DIALECTS[like]
    assert profile.endpoints <= dialect.endpoints
    assert {dialect.openai_endpoint(profile.line_url(endpoint)) for endpoint in profile.endpoints} == profile.endpoints
    assert (profile.file_purpose, profile.upload_path) == (dialect.purpose, dialect.upload_path)
    assert profile.max_requests <= dialect.max_requests
    assert profile.max_file_bytes <= dialect.max_file_bytes
    if EMBEDDINGS in profile.endpoints and profile.max_embedding_inputs is not None:
        assert profile.max_embedding_inputs <= dialect.max_embedding_inputs
