"""`autobatcher emulate` as a process: its URL, the SDK and BatchOpenAI over real sockets, signals."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import openai
import pytest

from autobatcher import BatchOpenAI
from autobatcher.cli.emulate import how_to_use
from autobatcher.cli.loopback import is_loopback

from .processes import find_url, read_until, run, started

pytestmark = pytest.mark.real_time

LAST_LINE = "OPENAI_API_KEY"
LINE = (
    b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", '
    b'"body": {"model": "m", "messages": [{"role": "user", "content": "a"}]}}'
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    flags = ("--realtime-seconds", "0.2", "--flex-seconds", "0.4", "--cancelling-seconds", "1h", "--max-bytes", "1MB")
    with started(
        "emulate", "--like", "doubleword", "--api-key", "the-key", *flags, AUTOBATCHER_BATCH_SECONDS="1"
    ) as process:
        yield find_url(read_until(process, "stdout", LAST_LINE))
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=10)
        assert process.returncode == 0
        assert re.fullmatch(r"(autobatcher emulate: \d+ requests? (?:was|were) billed: \$0\.\d+\n)?", error)
        assert "the-key" not in out


def test_the_sdk_gets_an_answer_in_real_time(url: str) -> None:
    with openai.OpenAI(api_key="the-key", base_url=url, max_retries=0) as sdk:
        answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
        assert answer.choices[0].message.content == "hello"


@pytest.mark.parametrize(("tier", "seconds"), [("default", 0.2), ("flex", 0.4)])
def test_a_call_takes_as_long_as_its_flag_says(url: str, tier: Any, seconds: float) -> None:
    begun = time.monotonic()
    with openai.OpenAI(api_key="the-key", base_url=url, max_retries=0) as sdk:
        messages: Any = [{"role": "user", "content": "hello"}]
        sdk.chat.completions.create(model="m", messages=messages, service_tier=tier)
    assert time.monotonic() - begun >= seconds


def test_a_cancellation_takes_as_long_as_its_flag_says(url: str) -> None:
    line = b'{"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": "a"}}\n'
    with openai.OpenAI(api_key="the-key", base_url=url, max_retries=0) as sdk:
        file = sdk.files.create(file=("a.jsonl", line), purpose="batch")
        batch = sdk.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
        sdk.batches.cancel(batch.id)
        assert sdk.batches.retrieve(batch.id).status == "cancelling"


def test_another_server_answers_if_told_so(url: str) -> None:
    with started("emulate", "--forward-to", url, "--forward-key", "the-key") as process:
        forwarding = find_url(read_until(process, "stdout", LAST_LINE))
        with openai.OpenAI(api_key="any", base_url=forwarding, max_retries=0) as sdk:
            answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
            assert answer.choices[0].message.content == "hello"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


@pytest.mark.proves("faults", "a page in a browser uses the proxy, by DNS rebinding or from another origin")
def test_a_file_is_refused_for_which_there_is_no_room(url: str) -> None:
    with (
        openai.OpenAI(api_key="the-key", base_url=url, max_retries=0) as sdk,
        pytest.raises(openai.APIStatusError) as refused,
    ):
        sdk.files.create(file=LINE + b" " * 2_000_000, purpose="batch")
    assert refused.value.status_code == 413


def test_it_serves_its_bill(url: str) -> None:
    told = httpx.get(url.removesuffix("/v1") + "/emulator/bill", headers={"authorization": "Bearer the-key"})
    assert told.json()["currency"] == "USD"


def test_a_page_in_a_browser_is_refused(url: str) -> None:
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        refused = httpx.get(f"{url}/models", headers={"authorization": "Bearer the-key", **headers})
        assert refused.status_code == 403
        assert "This emulator does not serve" in refused.json()["error"]["message"]


def test_another_key_is_refused(url: str) -> None:
    with (
        openai.OpenAI(api_key="another", base_url=url, max_retries=0) as sdk,
        pytest.raises(openai.AuthenticationError),
    ):
        sdk.models.list()


async def test_calls_become_batches_over_real_sockets(url: str) -> None:
    answers: dict[int, str | None] = {}

    async def ask(number: int) -> None:
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": f"number {number}"}]
        )
        answers[number] = answer.choices[0].message.content

    with anyio.fail_after(30):
        async with (
            BatchOpenAI(
                api_key="the-key",
                base_url=url,
                provider="doubleword",
                batch_window_seconds=0.1,
                poll_interval_seconds=0.1,
            ) as client,
            anyio.create_task_group() as callers,
        ):
            for number in range(20):
                callers.start_soon(ask, number)
    assert answers == {number: f"number {number}" for number in range(20)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_quickly_with_exit_code_0_although_a_client_stays_connected(
    number: signal.Signals,
) -> None:
    with started("emulate") as process:
        url = find_url(read_until(process, "stdout", LAST_LINE))
        with openai.OpenAI(api_key="k", base_url=url, max_retries=0) as sdk:
            assert sdk.models.list().data
            begun = time.monotonic()
            process.send_signal(number)
            out, error = process.communicate(timeout=20)
            assert time.monotonic() - begun < 5
        assert (process.returncode, out, error) == (0, "", "")


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = run("emulate", "--port", str(port), PYTHONWARNINGS="")  # hypercorn forgets the socket
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.count("\n") == 1
    assert f"--port {port}" in told.stderr


def test_what_is_printed_never_has_the_key_in_it() -> None:
    assert how_to_use("openai", has_key=False).splitlines()[1:] == [
        "  {url}/emulator/bill says what was billed",
        "  export OPENAI_BASE_URL={url}/v1",
        "  export OPENAI_API_KEY=anything",
    ]
    assert "OPENAI_API_KEY='<the key you gave it>'" in how_to_use("openai", has_key=True)


def test_only_this_machine_reaches_a_loopback_address() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.com")] == [
        True, True, True, False, False,
    ]  # fmt: skip
