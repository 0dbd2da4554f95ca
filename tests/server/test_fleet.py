"""What a proxy shows of the engines that share its journal."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from typing import Any

import pytest
import trio

from autobatcher.engine.journal.identity import fingerprint
from tests.postgres_server import PASSWORD, PostgresServer
from tests.server.proxies import Proxy, on_real_trio, open_proxy

stores_module = pytest.importorskip("tests.journal.postgres.stores", exc_type=ImportError)
Stores, close, do, write_batch = (getattr(stores_module, name) for name in ("Stores", "close", "do", "write_batch"))

pytestmark = on_real_trio
LIMIT = 40
STRANGER = b"\xfe\xdc-fingerprint"


async def told(proxy: Proxy) -> tuple[Any, str]:
    """The fleet of /status, and the metrics."""
    async with proxy.http() as http:
        status, metrics = await http.get("/status"), (await http.get("/metrics")).text
    assert status.status_code == 200
    everything = status.text + metrics
    for secret in (PASSWORD, STRANGER.hex(), "fingerprint"):
        assert secret not in everything
    return status.json()["fleet"], metrics


async def test_a_proxy_shows_all_engines_and_what_waits_for_a_key(postgres_url: str) -> None:
    with closing(Stores(postgres_url)) as stores:
        dead, other = stores.open(), stores.open()
        upstream = "http://elsewhere.test/v1"
        write_batch(dead, "left", [b"a"], account=STRANGER, base_url=upstream, provider="groq")
        write_batch(other, "runs", [b"b", b"c"], account=STRANGER)
        do(dead, type(dead).update, "left", now=time.time(), stage="created")  # else it is old, and forgotten
        close(dead)
        with trio.fail_after(LIMIT):
            async with open_proxy(journal=postgres_url) as proxy:
                fleet, metrics = await told(proxy)
    assert [(each["is_this"], each["is_alive"], each["batches"], each["waiting"]) for each in fleet["engines"]] == [
        (True, True, 0, 0),
        (False, True, 1, 2),
        (False, False, 1, 0),  # its lines are free
    ]
    assert fleet["waiting_for_a_key"] == [{"base_url": upstream, "provider": "groq", "batches": 1}]
    assert (fleet["left_batches"], fleet["is_stale"]) == (1, False)
    assert 'autobatcher_fleet_engines{state="alive"} 2.0' in metrics
    assert 'autobatcher_fleet_engines{state="gone"} 1.0' in metrics
    assert "autobatcher_fleet_batches_left 1.0" in metrics
    assert "autobatcher_fleet_batches_without_key 1.0" in metrics


async def test_what_the_proxy_has_the_key_of_is_run_without_a_request_and_waits_for_no_key(postgres_url: str) -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(journal=postgres_url, cancel_active_batches_on_close=False) as proxy:
            with closing(Stores(postgres_url)) as stores:
                dead, watcher = stores.open(), stores.open()
                write_batch(dead, "left", [b"a"], account=fingerprint(proxy.client._call().account))
                close(dead)
                fleet, _ = await told(proxy)
                assert fleet["waiting_for_a_key"] == []
                while watcher.owners().get("left") == dead.session:  # noqa: ASYNC110  (another process would look)
                    await trio.sleep(0.1)


async def test_a_database_that_is_down_leaves_the_page_working(
    postgres: PostgresServer, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "autobatcher")  # another test may have set it for a command
    with trio.fail_after(LIMIT):
        async with open_proxy(journal=postgres_url) as proxy:
            postgres.stop()
            try:
                fleet, metrics = await told(proxy)
                while "cannot be listed" not in caplog.text:  # noqa: ASYNC110  (a log has no event)
                    await trio.sleep(0.05)
            finally:
                postgres.start()
    assert (fleet["engines"], fleet["is_stale"], fleet["age_seconds"]) == ([], True, None)
    assert "autobatcher_fleet" not in metrics
    assert "autobatcher_waiting_requests" in metrics
    assert PASSWORD not in caplog.text


async def test_sessions_that_have_no_engine_are_not_shown(postgres_url: str) -> None:
    """A process that closed a client well keeps a session without one, until it exits."""
    with trio.fail_after(LIMIT):
        async with open_proxy(journal=postgres_url):
            pass
        async with open_proxy(journal=postgres_url) as proxy:
            fleet, metrics = await told(proxy)
    assert [each["is_this"] for each in fleet["engines"]] == [True]
    assert 'autobatcher_fleet_engines{state="alive"} 1.0' in metrics


async def test_a_proxy_with_a_file_has_no_fleet(tmp_path: Any) -> None:
    with trio.fail_after(LIMIT):
        async with open_proxy(journal=tmp_path / "journal.sqlite3") as proxy:
            fleet, metrics = await told(proxy)
    assert fleet is None
    assert "autobatcher_fleet" not in metrics
