"""Base URLs, keys and headers that cannot work: said at once where it can be known, else by the first error."""

from __future__ import annotations

from typing import Any

import pytest

from autobatcher import AsyncOpenAI, BatchOpenAI, BatchOpenAISync, BatchSubmissionError
from autobatcher.cli.flags import Url, UsageError
from autobatcher.cli.upstream_flags import UpstreamFlags
from tests.harness import HTTP, Harness, ask, between, open_harness, outcome_of

MISTAKES = [
    ("api.openai.com/v1", "https://api.openai.com/v1"),
    ("api.openai.com", "https://api.openai.com/v1"),
    ("localhost:8000/v1", "http://localhost:8000/v1"),
    ("127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
    ("//gateway.example/v1", "https://gateway.example/v1"),
    ("https:/api.openai.com/v1", "https://api.openai.com/v1"),
    ("ftp://api.openai.com/v1", "https://api.openai.com/v1"),
    (" https://api.doubleword.ai/v1\n", "https://api.doubleword.ai/v1"),
    ("https://api.openai.com", "https://api.openai.com/v1"),
    ("https://api.doubleword.ai/", "https://api.doubleword.ai/v1"),
    ("https://api.groq.com", "https://api.groq.com/openai/v1"),
    ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
    ("https://gateway.example/v1/batches/", "https://gateway.example/v1"),
    ("https:///v1", "https://api.openai.com/v1"),
    ("https://gateway.example/chat/completions", "https://gateway.example"),
]
RIGHT = [
    "https://api.openai.com/v1",
    "https://api.openai.com/v1/",
    "http://localhost:8000",
    "https://gateway.example",
    "https://gateway.example/openai",
    "https://me.openai.azure.com/openai/v1/",
    "https://[2001:db8::1]:8000/v1",
    "https://me.services.ai.azure.com/models",
    "https://gateway.example/files",
    "HTTPS://API.OPENAI.COM/v1",
]


@pytest.mark.parametrize(("base_url", "right"), MISTAKES)
@pytest.mark.parametrize("client", [BatchOpenAI, BatchOpenAISync])
def test_a_base_url_that_cannot_work_is_refused_with_the_right_one(
    client: Any, base_url: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"^base_url ") as refused:
        client(api_key="k", base_url=base_url)
    assert str(refused.value).endswith(f" {right}")
    if base_url != base_url.strip():
        return  # the SDK strips variables
    monkeypatch.setenv("OPENAI_BASE_URL", base_url)
    with pytest.raises(ValueError, match=r"^OPENAI_BASE_URL ") as refused:
        client(api_key="k")
    assert str(refused.value).endswith(f" {right}")


@pytest.mark.parametrize("base_url", RIGHT)
def test_a_base_url_that_may_work_is_taken(base_url: str) -> None:
    assert str(AsyncOpenAI(api_key="k", base_url=base_url).base_url).rstrip("/").lower() == base_url.rstrip("/").lower()


async def test_a_base_url_that_is_set_later_is_checked_at_the_next_call() -> None:
    async with open_harness() as harness, harness.client() as client:
        client.base_url = "upstream.test/v1"
        with pytest.raises(ValueError, match=r"use https://upstream\.test/v1/$"):
            await ask(client, "hello")


SK = "sk-abcdef"


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (f"{SK}\n", r"white space around it, perhaps the line end of a file: give it with \.strip\(\)"),
        (f" {SK}", "white space around it"),
        (f"sk-\n{SK}", "not valid in an HTTP header: give the key and nothing else"),
        (f"Bearer {SK}", 'must be the key alone, without "Bearer"'),
        (f'"{SK}"', "has quotation marks around it"),
        (f"sk- {SK}", "has white space in it"),
    ],
)
@pytest.mark.parametrize("client", [BatchOpenAI, BatchOpenAISync])
@pytest.mark.proves("faults", "a key that cannot be sent")
def test_a_key_that_cannot_work_is_refused_without_quoting_it(
    client: Any, key: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=f"^api_key .*{told}") as refused:
        client(api_key=key, base_url="https://api.openai.com/v1")
    assert SK not in str(refused.value)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ValueError, match=r"^api_key \(from OPENAI_API_KEY\) "):
        client(base_url="https://api.openai.com/v1")


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ({"default_headers": {"X-Team": "a\nb"}}, r"default_headers\['X-Team'\]"),
        ({"default_headers": {"X-Team": " a"}}, r"default_headers\['X-Team'\]"),
        ({"organization": "org-1\n"}, "organization"),
        ({"project": "proj\r"}, "project"),
    ],
)
def test_a_header_that_cannot_be_sent_is_named_at_construction(argument: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named} has white space around it, or a character"):
        BatchOpenAI(api_key="k", base_url="https://gateway.example/v1", **argument)


async def refused_by(answer: Any, base_url: str, **settings: Any) -> BatchSubmissionError:
    """The error of a call to an upstream that answers everything like this."""
    harness = Harness()

    async def give(request: Any, send: Any) -> Any:
        return HTTP.Response(**answer)

    async with harness.client(base_url=base_url, http_client=between(harness, give), **settings) as client:
        error = await outcome_of(ask(client, "hello"))
    harness.emulator.close()
    return error  # type: ignore[no-any-return]


PAGE: dict[str, Any] = {"html": "<!DOCTYPE html><html><title>Welcome</title></html>"}


@pytest.mark.parametrize("status", [200, 404, 405, 501])
@pytest.mark.proves("faults", "a base URL leads to a web site")
async def test_a_web_site_is_told_from_an_api_by_the_first_error(status: int) -> None:
    error = await refused_by({"status_code": status, **PAGE}, "https://gateway.example")
    assert "Is base_url right? https://gateway.example answers with web pages" in str(error)
    assert str(error).count("Try https://gateway.example/v1") == 1
    assert "Welcome" not in str(error)


@pytest.mark.proves("faults", "a base URL lacks the path of the API")
async def test_a_missing_path_is_suggested_by_the_first_error() -> None:
    error = await refused_by({"status_code": 404, "json": {"detail": "Not Found"}}, "https://gateway.example/openai")
    assert "has no such path. Try https://gateway.example/openai/v1" in str(error)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (lambda: HTTP.ConnectError("[SSL: WRONG_VERSION_NUMBER] (_ssl.c:1006)"), "begin with http:// instead of"),
        (lambda: FileNotFoundError(2, "No such file"), "SSL_CERT_FILE=/none.pem cannot be read: No such file"),
        (lambda: HTTP.Response(501), "POST /files answered 501"),
    ],
    ids=["https for http", "no certificates", "no such operation"],
)
@pytest.mark.proves("faults", "no try can succeed: https spoken to an http server, SSL_CERT_FILE missing, 501")
async def test_what_no_other_try_can_change_is_told_by_the_first(
    failure: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/none.pem")
    tries = 0

    async def fail(request: Any, send: Any) -> Any:
        nonlocal tries
        tries += request.method == "POST"
        if isinstance(made := failure(), Exception):
            raise made
        return made

    async with open_harness() as harness, harness.client(http_client=between(harness, fail)) as client:
        error = await outcome_of(ask(client, "hello"))
    assert told in str(error)
    assert tries == 1


async def test_a_server_that_cannot_be_reached_is_named_at_once_and_in_the_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.test:3128")
    monkeypatch.setenv("NO_PROXY", "")

    async def refuse(request: Any, send: Any) -> Any:
        raise HTTP.ConnectError("All connection attempts failed", request=request)

    async with (
        open_harness() as harness,
        harness.client(
            base_url="https://gateway.test/v1", http_client=between(harness, refuse), batch_size=1
        ) as client,
    ):
        errors = [str(await outcome_of(ask(client, text))) for text in ("one", "two")]
    place = "no connection to gateway.test:443, with the proxy proxy.test:3128 (HTTPS_PROXY)"
    assert all(place in error for error in errors)
    (told,) = [record.getMessage() for record in caplog.records if "tried again" in record.getMessage()]
    assert place in told
    assert told.endswith("It is tried again for 10 s at https://gateway.test/v1")


async def test_what_says_nothing_of_the_base_url_is_told_without_advice() -> None:
    for answer in (
        {"status_code": 404, "json": {"error": {"message": "no such project"}}},
        {"status_code": 400, "json": {}},
    ):
        error = await refused_by(answer, "https://gateway.example/v1")
        assert "base_url" not in str(error)


async def test_white_space_in_a_key_is_pointed_out_when_a_server_refuses_it() -> None:
    error = await refused_by({"status_code": 401, "json": {}}, "https://gateway.example/v1", api_key="not needed")
    assert "There is white space in the key" in str(error)
    assert "not needed" not in str(error)


async def test_a_key_function_that_gives_a_line_end_is_told() -> None:
    async def key() -> str:
        return f"{SK}\n"

    error = await refused_by({"status_code": 200, "json": {}}, "https://gateway.example/v1", api_key=key)
    assert "the key that the api_key function gave has white space around it" in str(error)
    assert SK not in str(error)


def test_the_command_line_says_the_same() -> None:
    validate = Url.__metadata__[0].validator[0]  # type: ignore[attr-defined]
    for base_url, right in MISTAKES:
        with pytest.raises(ValueError, match=r"\.$") as refused:
            validate(str, base_url)
        assert right in str(refused.value)
    with pytest.raises(UsageError, match="white space around it"):
        UpstreamFlags(base_url="https://gateway.example/v1", api_key=f"{SK}\n").client_with()
