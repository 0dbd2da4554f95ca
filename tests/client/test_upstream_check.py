"""What is known of an upstream before the first call: whether it works, may work later, or cannot work."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from autobatcher.client.server_calls import judge_upstream
from autobatcher.emulator import FaultPlan, HttpFault
from autobatcher.upstream.verdict import Judgement
from tests.harness import open_harness

PAGE = "<!doctype html><title>Welcome</title>"
SECONDS = 5.0


def every(**fault: Any) -> tuple[HttpFault, ...]:
    return (HttpFault(**fault),)


def listing(**fault: Any) -> tuple[HttpFault, ...]:
    return (HttpFault(operation="batches.list", **fault),)


HOPELESS = {
    "a key that is refused": (listing(status=401), "refuses the key: 401: The emulator's"),
    "a key that is forbidden everything": (every(status=403), "refuses the key: 403: "),
    "no batches": (listing(status=404), "has no list of batches, so no Batch API: 404: "),
    "no API": (every(status=404), "has no API at this URL: 404: "),
    "a web site": (every(status=200, body=PAGE), "Is base_url right? http://upstream.test/v1 answers with web pages"),
    "another server": (every(redirect_to="http://elsewhere.test"), "cannot be used: was redirected to another server"),
}
UNCERTAIN = {
    "an outage": (every(status=503), "does not work now: 503: "),
    "too many requests": (every(status=429), "does not work now: 429: "),
    "another method": (listing(status=405), "does not work now: 405: "),
    "a list that is forbidden": (listing(status=403), "refuses to list batches: 403: "),
    "a firewall's page": (every(status=403, body=PAGE), "does not work now: 403: an HTML page"),
    "no batches, and the models are not known": (
        (*listing(status=404), HttpFault(operation="models", status=500)),
        "has no list of batches",
    ),
    "no connection": (every(refuse=True), "cannot be reached now: ConnectError"),
    "a cut connection": (every(disconnect=True), "cannot be reached now: ReadError"),
    "a silent server": (every(delay_seconds=3_000), "cannot be reached now: did not "),
    "no list": (every(status=200, body='{"status": "ok"}'), "does not work now: answered no list"),
    "no JSON": (every(status=200, body="OK"), "does not work now: answered something that is not JSON"),
}


async def judgement_on(faults: tuple[HttpFault, ...] = (), *, is_own_key: bool = True, **settings: Any) -> Judgement:
    """That of a client whose emulator has these faults. Only GETs were sent, and the answers came in time."""
    async with open_harness(faults=FaultPlan(faults)) as upstream:
        client, begun = upstream.client(**settings), anyio.current_time()
        judgement = await judge_upstream(client, seconds=SECONDS, is_own_key=is_own_key)
        assert anyio.current_time() - begun <= 2 * SECONDS
        await client.close()
        assert all(operation.endswith((".list", "models")) for operation in upstream.emulator.statistics().http_calls)
    return judgement


@pytest.mark.proves("faults", "`serve` or `run` starts with a key that is refused, or a URL without an API")
async def test_what_cannot_work_is_told_from_what_may_work_later() -> None:
    good = await judgement_on()
    assert (good.is_good, good.is_hopeless, "accepts the key" in good.sentence) == (True, False, True)
    for cases, is_hopeless in ((HOPELESS, True), (UNCERTAIN, False)):
        for name, (faults, words) in cases.items():
            judgement = await judgement_on(faults)
            assert (judgement.is_good, judgement.is_hopeless) == (False, is_hopeless), name
            assert words in judgement.sentence, name
            assert not judgement.sentence.endswith("."), name


async def test_no_key_is_judged_where_callers_send_their_own() -> None:
    refused = await judgement_on(listing(status=401), is_own_key=False)
    assert refused.is_good
    assert (await judgement_on(every(status=404), is_own_key=False)).is_hopeless


async def test_an_upstream_without_batches_will_do_where_none_are_used() -> None:
    assert (await judgement_on(listing(status=404), lanes=("realtime",))).is_good
    assert (await judgement_on(every(status=401), lanes=("realtime",))).is_hopeless


async def test_an_upstream_that_is_known_not_to_list_batches_is_not_given_up() -> None:
    assert not (await judgement_on(listing(status=404), provider="mistral")).is_hopeless
