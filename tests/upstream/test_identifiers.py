"""Ids of a stranger are refused where they are read, and never lead a call elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from autobatcher.upstream.account import Account
from autobatcher.upstream.answers import batches_listed, files_listed, id_answered
from autobatcher.upstream.batch_api import BatchAPI
from autobatcher.upstream.batch_state import parse_batch, unusable_id_in
from autobatcher.upstream.failures import UpstreamError
from autobatcher.upstream.identifiers import is_usable_id
from autobatcher.upstream.providers import CONSERVATIVE
from tests.harness import HTTP

ACCOUNT = Account(base_url="http://upstream.test/v1", provider=CONSERVATIVE, api_key="k")

BAD_IDS = [".", "..", "...", "a/b", "..%2f", "a?b", "a#b", "a b", "a\n", "\\", "é", "\x1b]0;x\x07", "a" * 1_001]


@pytest.mark.parametrize("bad", BAD_IDS)
def test_an_id_that_is_no_segment_of_a_path_is_refused(bad: str) -> None:
    assert not is_usable_id(bad)
    assert parse_batch({"id": bad, "status": "completed"}) is None
    assert unusable_id_in({"id": "batch_1", "error_file_id": bad}) == "error_file_id"
    assert files_listed({"data": [{"id": bad}, {"id": "file-1", "filename": "a"}]}) == [("file-1", "a")]
    with pytest.raises(UpstreamError, match="cannot be part of a URL"):
        batches_listed({"data": [{"id": bad}]})
    with pytest.raises(UpstreamError):
        id_answered("POST /files", HTTP.Response(200, json={"id": bad}).content)


@pytest.mark.parametrize(
    "good", ["batch_abc-1.2~x", "0195a2", "bGl0ZWxsbV9wcm94eTpmaWxl==", "a:b;c", "..a", 7, "a" * 1_000]
)
def test_ids_as_servers_choose_them_are_taken(good: object) -> None:
    state = parse_batch({"id": good, "output_file_id": good})
    assert state is not None
    assert (state.id, state.output_file_id) == (str(good), str(good))


@pytest.mark.parametrize("odd", [True, 1.5, ["a"], {"a": 1}])
def test_what_is_neither_text_nor_a_whole_number_is_no_id(odd: object) -> None:
    assert parse_batch({"id": odd}) is None
    assert unusable_id_in({"id": "batch_1", "output_file_id": odd}) == "output_file_id"


async def test_no_id_from_a_journal_or_a_command_line_leads_a_call_elsewhere() -> None:
    async def answer(request: Any) -> Any:
        raise AssertionError(request.url)

    async with HTTP.AsyncClient(transport=HTTP.MockTransport(answer)) as http:
        api = BatchAPI(http)
        for call in (api.retrieve, api.cancel, api.delete_file):
            with pytest.raises(UpstreamError, match="not an id"):
                await call(ACCOUNT, "..")


def test_what_a_batch_object_says_is_bounded() -> None:
    problems = [{"message": "x" * 10_000, "code": "y" * 10_000, "line": -1}, "z" * 10_000]
    state = parse_batch({"id": "b", "status": "s" * 10_000, "errors": {"data": problems}})
    assert state is not None
    assert len(state.status) < 100
    assert max(len(str(problem)) for problem in state.problems) < 3_000
