"""Canaries through the doors for Python programs, and every failure of an upstream that quotes what it got."""

from __future__ import annotations

import copy
import importlib
import json
import logging
import pickle
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatcher import BatchOpenAI, BatchOpenAISync, BatchTransport
from autobatcher.client.sdk import account_behind
from autobatcher.client.streams import StreamRequest
from autobatcher.emulator import Emulator
from autobatcher.engine.journal.records import StoredAnswer
from autobatcher.engine.journal.rows import Result
from autobatcher.engine.request import Answer, Request
from autobatcher.redaction import MASK, PIECE_BYTES, Redactor
from autobatcher.spellings import MOST_RARE
from autobatcher.turns import Steps
from autobatcher.upstream.output_line import OutputLine
from tests.client.test_sync import ToEmulator
from tests.harness import HTTP, MODEL, SDK_LIBRARY, Harness, ask, between, open_harness, outcome_of
from tests.journal.restarts import Restarts
from tests.tracing.recorder import Recorder

from .canaries import KEY, PASSWORD, PROMPT, Exits, echo, found_in, spellings
from .upstreams import Quoting, failures

ECHO = echo(KEY)
URL_WITH_A_PASSWORD = f"http://user:{quote(PASSWORD, safe='')}@upstream.test/v1"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}


# ---- doors ----


async def through_the_client(harness: Harness, client: BatchOpenAI, exits: Exits) -> None:
    async with client:
        exits.add_outcome("create", await outcome_of(ask(client, PROMPT)))
        exits.add_outcome("models", await outcome_of(client.models.list()))
        exits.add_outcome("raw models", await outcome_of(_headers_of_models(client)))
        exits.add("statistics", repr(client.batch_statistics()))
    exits.add("events", harness.events)


async def _headers_of_models(client: BatchOpenAI) -> str:
    raw = await client.models.with_raw_response.list()
    return repr(raw.headers.multi_items())


async def through_the_transport(harness: Harness, options: dict[str, Any], exits: Exits) -> None:
    transport = BatchTransport(
        http_client=between(harness, Quoting(ECHO)), provider="openai", batch_window_seconds=1.0, **options
    )
    library: Any = importlib.import_module(SDK_LIBRARY)
    headers = {"authorization": f"Bearer {KEY}"}
    async with library.AsyncClient(transport=transport, base_url="http://upstream.test/v1", headers=headers) as http:
        exits.add_response("transport", await http.post("/chat/completions", json=BODY))
        outcome = await outcome_of(http.get("/files/none"))
        if isinstance(outcome, Exception):
            exits.add_outcome("passed through", outcome)
        else:
            exits.add_response("passed through", outcome)


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)  # nothing of this depends on it
@pytest.mark.proves("faults", "an upstream quotes a key, in any spelling, wherever it can")
async def test_whatever_fails_and_quotes_the_key_nothing_that_leaves_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "autobatcher")
    for number, (name, plan) in enumerate(failures(ECHO)):
        exits = Exits()
        folder = tmp_path / str(number)
        folder.mkdir()
        restarts = Restarts(folder / "journal.sqlite3", monkeypatch)
        async with open_harness(faults=plan) as harness:
            http_client = between(harness, Quoting(ECHO))
            client = restarts.client(harness, api_key=KEY, http_client=http_client, completion_window="24h")
            recorder = Recorder()
            await through_the_client(harness, recorder.trace(client), exits)
            await through_the_transport(harness, {}, exits)
            exits.add("spans", recorder.said())
        exits.add_files(folder)
        told = capfd.readouterr()
        exits.add("logs, stdout, stderr", caplog.text + told.out + told.err)
        caplog.clear()
        try:
            exits.check(KEY)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


async def test_a_key_in_the_ids_of_files_and_batches_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exits, restarts = Exits(), Restarts(tmp_path / "journal.sqlite3", monkeypatch)
    recorder = Recorder()
    async with open_harness() as harness:
        client = restarts.client(harness, api_key=KEY, http_client=between(harness, Quoting(ECHO, ids=True)))
        await through_the_client(harness, recorder.trace(client), exits)
    exits.add("spans", recorder.said())
    exits.add_files(tmp_path)
    exits.check(KEY)


@pytest.mark.parametrize(
    "credentials",
    [
        {"default_headers": {"Authorization": f"Bearer {KEY}"}},
        {"default_headers": {"Ocp-Apim-Subscription-Key": KEY}},
        {"default_headers": {"Cookie": f"session={KEY}; other=1"}},
        {"default_query": {"api-key": KEY}},
        {"http_client": {"auth": ("user", KEY)}},
        {"http_client": {"headers": {"x-gateway-token": KEY}}},
    ],
    ids=str,
)
async def test_a_credential_is_masked_wherever_it_was_given(credentials: dict[str, Any]) -> None:
    (_, plan), *_ = failures(ECHO)
    exits = Exits()
    async with open_harness(faults=plan) as harness:
        http_client = between(harness, Quoting(ECHO), **credentials.get("http_client", {}))
        client = harness.client(api_key="another-key", **{**credentials, "http_client": http_client})
        await through_the_client(harness, client, exits)
    exits.check(KEY)


async def test_a_key_of_a_function_and_of_one_call_are_masked() -> None:
    async def key() -> str:
        return KEY

    (_, plan), *_ = failures(ECHO)
    exits = Exits()
    async with open_harness(faults=plan) as harness:
        client = harness.client(api_key=key, http_client=between(harness, Quoting(ECHO)))
        await through_the_client(harness, client, exits)
        client = harness.client(http_client=between(harness, Quoting(ECHO)))
        async with client:
            call = client.chat.completions.create(**BODY, extra_headers={"Authorization": f"Bearer {KEY}"})
            exits.add_outcome("one call's key", await outcome_of(call))
    exits.check(KEY)


@pytest.mark.parametrize("broken", [f"{KEY}\n", f"{KEY}\N{SNOWMAN}"])
async def test_a_header_that_cannot_be_sent_is_not_quoted(broken: str) -> None:
    exits = Exits()
    async with open_harness() as harness:
        # The emulator's transport checks nothing, so this one stands for the network's.
        async def refuse(request: Any, send: Any) -> Any:
            assert request.headers["x-gateway-token"] == KEY
            raise HTTP.LocalProtocolError(f"Illegal header value {broken.encode()!r}") from ValueError(broken.encode())

        with pytest.raises(ValueError, match=r"default_headers\['x-gateway-token'\]") as refused:
            harness.client(default_headers={"x-gateway-token": broken})
        exits.add_outcome("construction", refused.value)
        client = harness.client(default_headers={"x-gateway-token": KEY}, http_client=between(harness, refuse))
        async with client:
            outcome = await outcome_of(client.answer("/v1/chat/completions", json.dumps(BODY).encode()))
    exits.add_outcome("answer", outcome)
    exits.check(KEY)


@pytest.mark.real_time
def test_the_sync_client_lets_nothing_out_either() -> None:
    plans = dict(failures(ECHO))
    for name in ('files.create answers 401 with {"erro', "models answers 401 with <html>", "a line with a status"):
        emulator, exits = Emulator(faults=plans[name]), Exits()
        http_client = HTTP.Client(transport=ToEmulator(emulator))
        options: dict[str, Any] = {"batch_window_seconds": 0.01, "poll_interval_seconds": 0.01}
        with BatchOpenAISync(
            api_key=KEY, base_url="http://upstream.test/v1", http_client=http_client, **options
        ) as client:
            for call in (lambda: client.chat.completions.create(**BODY), client.models.list):
                exits.add_outcome(name, _outcome_of(call))
        emulator.close()
        exits.check(KEY)


def _outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except openai.OpenAIError as error:
        return error


# ---- an honest answer ----


async def test_an_answer_that_only_contains_a_word_like_the_key_stays_as_it_is() -> None:
    text = "ask me anything about autobatcher or azure-active-directory, 50% of \\/ \\u0041 %41 12345678"
    headers = {"x-auth-kind": "azure-active-directory"}
    for key in ("anything", "autobatcher", "12345678", "completed"):
        async with open_harness() as harness, harness.client(api_key=key, default_headers=headers) as client:
            assert text in await ask(client, text)


@pytest.mark.parametrize("key", ["sk-secret", "sk-canary-1", "anything"])
async def test_a_short_key_is_masked_in_errors(key: str) -> None:
    plans = dict(failures(f"no {key} here"))
    for name in (
        "a failed batch",
        "a line with a status",
        "a line with a code",
        'files.create answers 401 with {"erro',
    ):
        exits = Exits()
        async with open_harness(faults=plans[name]) as harness:
            await through_the_client(harness, harness.client(api_key=key), exits)
        exits.check(key)


def test_what_has_no_secret_in_it_is_returned_as_it_is() -> None:
    redactor = Redactor([KEY])
    for content in (
        b"",
        b"plain",
        b'{"a": "50 %, \\u0041, \\/, %41", "b": "sk-canary"}',
        "ä\ud800".encode("utf-8", "replace"),
    ):
        assert redactor.redact(content) is content
    assert redactor.redact_text("\ud800 %41") == "\ud800 %41"


def test_each_spelling_is_masked_and_nothing_around_it() -> None:
    redactor = Redactor([KEY])
    for spelling in spellings(KEY):
        masked = redactor.redact_text(f'{{"before": "%41 {spelling} \\u0041 after"}}')
        assert masked.startswith('{"before": "%41 ')
        assert masked.endswith(' \\u0041 after"}')
        assert MASK in masked
        assert not found_in(masked, [KEY])


NOISE = (
    "K",
    "KT" * MOST_RARE,
    "ZXJKVQ ",
    "50% ",
    "%20",
    "%25",
    "\\\\",
    "\\/",
    "\\u00e9",
    "\\u0041",
    "no\\n",
    KEY[:-1],
    "a" * 300,
)


@given(st.lists(st.sampled_from(NOISE)), st.sampled_from(spellings(KEY)), st.lists(st.sampled_from(NOISE)))
def test_each_spelling_is_masked_in_any_text(before: list[str], spelling: str, after: list[str]) -> None:
    content = " ".join((*before, spelling, *after)).encode()
    expected = " ".join((*before, Redactor([KEY]).redact_text(spelling), *after)).encode()
    assert Redactor([KEY]).redact(content) == expected


@given(st.sets(st.integers(0, len(KEY) - 1)), st.sampled_from(["%{:02x}", "%25{:02X}", "\\u00{:02x}", "\\\\u00{:02X}"]))
def test_a_secret_is_masked_whichever_of_its_characters_are_escaped(places: set[int], escape: str) -> None:
    spelling = "".join(escape.format(ord(each)) if at in places else each for at, each in enumerate(KEY))
    around = "A 50 % a\\u00e9" * 1_000
    assert Redactor([KEY]).redact_text(around + spelling + around) == around + MASK + around


def next_step(steps: Steps[bytes]) -> bytes | None:
    """What the computation returns, if it ends with this step."""
    try:
        next(steps)
    except StopIteration as end:
        result: bytes = end.value
        return result
    return None


def test_a_large_body_is_searched_in_steps_and_a_secret_on_their_border_is_masked() -> None:
    redactor = Redactor([KEY])
    for spelling in spellings(KEY):
        secret = spelling.encode()
        for before in (PIECE_BYTES - len(secret), PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES - len(secret) // 2):
            body = b"a" * before + secret + b"b" * PIECE_BYTES + secret
            steps = redactor.redacting(body)
            count = 0
            while (masked := next_step(steps)) is None:
                count += 1
            alone = redactor.redact(secret)
            assert masked == b"a" * before + alone + b"b" * PIECE_BYTES + alone
            assert count >= len(body) // PIECE_BYTES


def test_a_hostile_body_costs_little_time() -> None:
    redactor = Redactor([KEY])
    run = b"\\" * 480_000 + b"\\u0041" * 1_000
    for content in (b"\\" * 2_000_000, run, b"%25" * 700_000, b"\\u0041" * 400_000, KEY.encode() * 50_000):
        begun = time.perf_counter()
        redactor.redact(content)
        assert time.perf_counter() - begun < 2  # quadratic time would be hours


# ---- what a debugger or a log shows of objects ----


async def test_what_holds_a_key_or_a_prompt_shows_neither_and_cannot_be_pickled_with_it() -> None:
    client = BatchOpenAI(api_key=KEY, default_headers={"x-token": KEY}, default_query={"api-key": KEY})
    account = replace(account_behind(client), other_secrets=(KEY,))
    body = PROMPT.encode()
    request = Request(account=account, endpoint="/v1/chat/completions", body=body, model="m")
    holders: list[Any] = [
        client,
        client._engine,
        client._call(),
        account,
        request,
        Redactor([KEY]),
        BatchTransport(),
        StreamRequest(body, wants_stream=False, include_usage=False),
        Answer(200, body, None, "b", "c"),
        OutputLine("c", 200, body, error=PROMPT),
        StoredAnswer("k", 1, "b", 200, body, None),
        Result("k", 1, "/v1/chat/completions", body, 200, body, None, True),
    ]
    for holder in holders:
        shown = f"{holder!r} {holder!s}"
        assert not found_in(shown, [KEY]), shown
        assert PROMPT not in shown
    for holder in (client, account, client._call(), request, Redactor([KEY])):
        with pytest.raises((TypeError, pickle.PicklingError)):
            pickle.dumps(holder)
        with pytest.raises(TypeError):
            copy.deepcopy(holder)


async def test_a_body_that_is_no_text_is_refused_without_being_kept() -> None:
    async with open_harness() as harness, harness.client() as client:
        refused = await outcome_of(client.answer("/v1/chat/completions", PROMPT.encode() + b"\xff"))
    exits = Exits()
    exits.add_outcome("refused", refused)
    exits.check()


# ---- a password in a URL ----


@pytest.mark.parametrize("door", [BatchOpenAI, BatchOpenAISync])
def test_a_user_in_the_base_url_is_refused_without_being_told(door: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (
        URL_WITH_A_PASSWORD,
        f"https://user:{PASSWORD}@upstream.test/v1",
        f"https://user:{PASSWORD}@upstream.test/v1?key={PASSWORD}",
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        for options in ({"base_url": url}, {}):
            with pytest.raises(ValueError, match="base_url must have no user and password") as caught:
                door(api_key="k", **options)
            assert PASSWORD not in str(caught.value)


async def test_a_user_in_a_base_url_that_is_set_later_never_replaces_the_key() -> None:
    async with open_harness() as harness, harness.client() as client:
        client.base_url = URL_WITH_A_PASSWORD
        for call in (ask(client, PROMPT), client.models.list()):
            outcome = await outcome_of(call)
            assert isinstance(outcome, ValueError)
            assert not found_in(str(outcome), [PASSWORD])
        assert not harness.emulator.statistics().http_calls


async def test_a_user_in_the_url_of_another_sdk_is_refused() -> None:
    exits = Exits()
    async with httpx.AsyncClient(transport=BatchTransport()) as http:
        response = await http.post(URL_WITH_A_PASSWORD + "/chat/completions", json=BODY)
    assert response.status_code == 400
    assert "user and password" in response.json()["error"]["message"]
    exits.add_response("transport", response)
    exits.check(PASSWORD)


async def test_the_emulator_quotes_no_key_of_the_server_behind_it() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, headers={"x-request-id": ECHO}, text=ECHO)

    options: dict[str, Any] = {"forward_key": KEY, "forward_transport": httpx.MockTransport(answer)}
    exits = Exits()
    with Emulator(forward_to="http://model.test/v1", **options) as emulator:
        async with anyio.create_task_group() as group:
            await group.start(emulator.run)
            async with emulator.http_client(library="httpx") as http:
                exits.add_response("real time", await http.get("http://upstream.test/v1/models"))
            client = BatchOpenAI(
                base_url="http://upstream.test/v1", api_key="k", http_client=emulator.http_client(library=SDK_LIBRARY)
            )
            async with client:
                exits.add_outcome("line", await outcome_of(ask(client, PROMPT)))
            group.cancel_scope.cancel()
    exits.check(KEY)
    with pytest.raises(ValueError, match="forward_to must have no user") as caught:
        Emulator(forward_to=f"http://user:{PASSWORD}@model.test/v1")
    assert PASSWORD not in str(caught.value)
