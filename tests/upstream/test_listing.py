"""The upstream's list of batches, page by page."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import pytest

from autobatcher.upstream.account import Account
from autobatcher.upstream.batch_api import BatchAPI
from autobatcher.upstream.batch_state import parse_batch
from autobatcher.upstream.failures import UpstreamError
from autobatcher.upstream.large_turn import LargeTurn
from autobatcher.upstream.lookup import CLOCK_SECONDS, IDEMPOTENCY_METADATA_KEY, LOOKUP_PAGES, Lookup
from autobatcher.upstream.providers import CONSERVATIVE
from tests.harness import HTTP

ACCOUNT = Account(base_url="http://upstream.test/v1", provider=CONSERVATIVE, api_key="k")


class Pages(HTTP.AsyncBaseTransport):  # type: ignore[misc]  # the library is known at run time only
    """An upstream with that many pages of two batches each; None for infinitely many."""

    def __init__(self, count: int | None) -> None:
        self.count = count
        self.asked = 0

    async def handle_async_request(self, request: Any) -> Any:
        number = int(request.url.params.get("after", "-1")) + 1
        self.asked += 1
        batches = [
            {"id": str(n), "status": "completed", "metadata": {IDEMPOTENCY_METADATA_KEY: f"s{n}"}}
            for n in (number, number + 1)
        ]
        return HTTP.Response(200, json={"data": batches, "has_more": self.asked != self.count})


async def test_the_list_is_read_to_its_end_or_for_so_many_pages() -> None:
    for count, pages in ((1, 1), (3, 3), (None, LOOKUP_PAGES)):
        async with HTTP.AsyncClient(transport=Pages(count)) as http:
            listed = await BatchAPI(http).list_batches(ACCOUNT)
        assert [state.id for state in listed] == [str(number) for number in range(2 * pages)]


async def test_a_batch_is_found_on_a_later_page_and_not_looked_for_without_end() -> None:
    async with HTTP.AsyncClient(transport=Pages(3)) as http:
        found = await BatchAPI(http).find(ACCOUNT, idempotency_key="s3", input_file_id="")
    assert found is not None
    assert found.id == "3"
    async with HTTP.AsyncClient(transport=Pages(None)) as http:
        with pytest.raises(UpstreamError, match="pages"):
            await BatchAPI(http).find(ACCOUNT, idempotency_key="elsewhere", input_file_id="")


class AccountOfYears(HTTP.AsyncBaseTransport):  # type: ignore[misc]  # the library is known at run time only
    """An upstream with a batch each hour, for years. Ours is the one of so many hours ago."""

    def __init__(self, ours: int | None) -> None:
        self.ours = ours
        self.listed = 0

    async def handle_async_request(self, request: Any) -> Any:
        first, size = int(request.url.params.get("after", "-1")) + 1, int(request.url.params["limit"])
        self.listed += size
        batches = [
            {
                "id": str(hour),
                "status": "completed",
                "created_at": 1_800_000_000 - 3600 * hour,
                "metadata": {IDEMPOTENCY_METADATA_KEY: "ours" if hour == self.ours else "another"},
            }
            for hour in range(first, first + size)
        ]
        return HTTP.Response(200, json={"data": batches, "has_more": True})


async def test_an_account_with_a_long_history_is_searched_no_further_back_than_the_batch_can_be() -> None:
    async with HTTP.AsyncClient(transport=AccountOfYears(None)) as http:
        assert await BatchAPI(http).find(ACCOUNT, idempotency_key="ours", input_file_id="") is None


@pytest.mark.parametrize("hours", [0, 100, 4_000])
async def test_a_batch_of_that_age_is_found(hours: int) -> None:
    upstream = AccountOfYears(hours)
    async with HTTP.AsyncClient(transport=upstream) as http:
        for hours_by_our_clock in (hours, hours + 20, max(hours - 20, 0)):
            lookup = Lookup("ours", "", 3600.0 * hours_by_our_clock)
            found = await BatchAPI(http).look_up(ACCOUNT, lookup)
            assert found is not None
            assert found.id == str(hours)
        upstream.ours, upstream.listed = None, 0
        assert await BatchAPI(http).look_up(ACCOUNT, Lookup("ours", "", 3600.0 * hours)) is None
    assert upstream.listed <= hours + CLOCK_SECONDS / 3600 + 220


@pytest.mark.parametrize("times", [[None, None], [1e9, 2e9], [2e9, "2001-01-01"], [2e9, 1e15], [2e9, True]])
def test_a_list_without_times_or_in_another_order_is_searched_to_its_end(times: list[Any]) -> None:
    lookup = Lookup("ours", "")
    for number, told in enumerate(times):
        state = parse_batch({"id": str(number), "status": "completed", "created_at": told})
        assert state is not None
        assert lookup.goes_on([state], str(number))


async def test_a_lookup_that_fails_goes_on_where_it_stopped() -> None:
    pages, is_down = Pages(5), False

    class Failing(HTTP.AsyncBaseTransport):  # type: ignore[misc]  # the library is known at run time only
        """Every second call fails."""

        async def handle_async_request(self, request: Any) -> Any:
            nonlocal is_down
            is_down = not is_down
            return HTTP.Response(503) if is_down else await pages.handle_async_request(request)

    async with HTTP.AsyncClient(transport=Failing()) as http:
        found = await BatchAPI(http).find(ACCOUNT, idempotency_key="s5", input_file_id="")
    assert found is not None
    assert pages.asked == 3  # each page once


async def test_a_list_that_is_refused_is_not_asked_for_again() -> None:
    asked = []

    class Refusing(HTTP.AsyncBaseTransport):  # type: ignore[misc]  # the library is known at run time only
        async def handle_async_request(self, request: Any) -> Any:
            asked.append(request)
            return HTTP.Response(503)

    async with HTTP.AsyncClient(transport=Refusing()) as http:
        with pytest.raises(UpstreamError) as caught:
            await BatchAPI(http).list_batches(ACCOUNT)
    assert caught.value.is_retryable
    assert len(asked) == 1


async def test_a_server_that_answers_the_same_page_for_ever_is_not_asked_for_ever() -> None:
    asked = []

    async def answer(request: Any) -> Any:
        asked.append(request)
        return HTTP.Response(200, json={"data": [{"id": "b", "filename": "ours"}], "has_more": True})

    async with HTTP.AsyncClient(transport=HTTP.MockTransport(answer)) as http:
        api = BatchAPI(http)
        assert len(await api.list_batches(ACCOUNT)) == 2
        with pytest.raises(UpstreamError, match="same page"):  # whether the batch exists is not known
            await api.find(ACCOUNT, idempotency_key="elsewhere", input_file_id="")
        asked.clear()
        await api.delete_files_named(ACCOUNT, "another's")
    assert len(asked) == 2


@pytest.mark.proves("faults", "JSON whose numbers take microseconds each")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" + b"[]," * 100_000 + b"[]]", "lists and objects"),
        (b"[" + b"1," * 300_001 + b"1]", "members"),
        (b"[" + b"5e-324," * 250_000 + b"1]", "hundreds of digits"),
        (b"[" + b"0.%b5," % (b"0" * 310) * 30_000 + b"1]", "hundreds of digits"),
    ],
    ids=["lists", "members", "hard numbers", "long numbers"],
)
async def test_an_answer_that_would_take_long_to_decode_is_not_decoded(content: bytes, reason: str) -> None:
    async def answer(request: Any) -> Any:
        return HTTP.Response(200, content=content)

    async with HTTP.AsyncClient(transport=HTTP.MockTransport(answer)) as http:
        with pytest.raises(UpstreamError, match=reason):
            await BatchAPI(http).list_batches(ACCOUNT)


@pytest.mark.proves("faults", "JSON whose numbers take microseconds each")
async def test_nor_is_the_body_of_an_error() -> None:
    body = b'{"error":{"message":"no","x":[' + b"5e-324," * 140_000 + b"1]}}"
    async with HTTP.AsyncClient(transport=HTTP.MockTransport(lambda _: HTTP.Response(503, content=body))) as http:
        begun = time.thread_time()
        with pytest.raises(UpstreamError) as caught:
            await BatchAPI(http).list_batches(ACCOUNT)
    assert time.thread_time() - begun < 0.25  # it would take a second
    assert '{"error":{"message":"no"' in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [
        {"retry-after": "Tue, 24 Nov 2026 06:00:00 +99999999999", "date": "Tue, 24 Nov 2026 06:00:00 GMT"},
        {"retry-after": "1e999"},
        {"retry-after": "-5"},
        {"retry-after": "9" * 5_000},
        {"content-encoding": "br"},
    ],
)
async def test_no_header_of_a_refusal_makes_it_a_defect(headers: dict[str, str]) -> None:
    async with HTTP.AsyncClient(transport=HTTP.MockTransport(lambda _: Unread(503, headers))) as http:
        with pytest.raises(UpstreamError) as caught:
            await BatchAPI(http).list_batches(ACCOUNT)
    assert caught.value.status_code == 503
    assert caught.value.is_retryable


class Unread(HTTP.Response):  # type: ignore[misc]  # the library is known at run time only
    """A response that has not been read, as from a socket."""

    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        super().__init__(status_code, headers=headers, stream=Broken())


class Broken(HTTP.AsyncByteStream):  # type: ignore[misc]  # the library is known at run time only
    """A body that breaks."""

    async def __aiter__(self) -> Any:
        yield b"{"
        raise HTTP.ReadError("broken")


@pytest.mark.parametrize("status", [101, 304, 600, 999])
async def test_what_is_no_status_of_a_failure_is_not_handed_on_as_one(status: int) -> None:
    async with HTTP.AsyncClient(transport=HTTP.MockTransport(lambda _: HTTP.Response(status))) as http:
        with pytest.raises(UpstreamError, match=str(status)) as caught:
            await BatchAPI(http).list_batches(ACCOUNT)
    assert caught.value.status_code is None
    assert caught.value.is_ambiguous


@pytest.mark.parametrize("last_line", ["", "-1", "9" * 5_000, "\u0663", "1.5"])
async def test_an_odd_number_of_the_last_line_is_ignored(last_line: str) -> None:
    taken = []

    async def take(line: object) -> None:
        taken.append(line)

    headers = {"x-last-line": last_line.encode()}
    answer = HTTP.Response(200, headers=headers, content=b"{}\n{}\n")
    async with HTTP.AsyncClient(transport=HTTP.MockTransport(lambda _: answer)) as http:
        assert (
            await BatchAPI(http).read_lines(
                ACCOUNT, "f", lambda block: None, take, skip=3, large=LargeTurn(nullcontext())
            )
            == 5
        )
    assert taken == [b"{}", b"{}"]
