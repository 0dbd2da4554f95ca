"""Both backends for every async test, on virtual time unless the test is marked `real_time`."""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import hypothesis
import pytest
from trio.testing import MockClock

from autobatcher.emulator import Emulator
from autobatcher.money.library_prices import import_prices
from autobatcher.upstream.providers import BATCHABLE_ENDPOINTS
from tests.postgres_server import postgres, postgres_url
from tests.recording import note_proofs, pytest_addoption, pytest_configure
from tests.sampling import mark_unsampled

import_prices()  # not by an engine: on virtual time, a thread looks like idleness

__all__ = [
    "postgres",
    "postgres_url",
    "pytest_addoption",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_configure",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before pytest deselects by marks."""
    note_proofs(items)
    mark_unsampled(items)
    # The long ones first, which say so by their time limit: at the end, one worker would run them while others idle.
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


def pytest_collection_finish() -> None:
    """The garbage collector need not look through thousands of tests, again and again."""
    gc.collect()
    gc.freeze()


# Machines that run tests are slow at times; a test that is too slow meets pytest's own timeout. The same commit gives
# the same result each time: what is random is searched at length by `nox -s nightly`, which sets the seeds.
hypothesis.settings.register_profile(
    "autobatcher",
    deadline=None,
    derandomize="HYPOTHESIS_SEEDS" not in os.environ,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("autobatcher")


class _JumpingSelector(selectors.DefaultSelector):
    """When nothing is ready, time jumps to the next timer instead of passing."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def jump(self, seconds: float) -> None:
        self._clock.now += seconds


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The clock is made here, one for each test: in `params=` it would be shared."""
    name: str = request.param
    if request.node.get_closest_marker("real_time") is not None:
        return name, {}
    if name == "trio":
        return name, {"clock": MockClock(autojump_threshold=0)}
    return name, {"loop_factory": VirtualTimeLoop}


@pytest.fixture(autouse=True)
def _no_platform_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK asks for the platform's name in a thread, which virtual time takes for idleness and jumps."""

    def in_place(function: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
        async def call() -> Any:
            return function()

        return call

    monkeypatch.setattr("openai._base_client.asyncify", in_place)


@pytest.fixture(autouse=True)
def _no_dice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays are as long as they say, so that virtual time is the same in every run."""
    monkeypatch.setattr("autobatcher.upstream.back_off.JITTER", 0.0)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's shell says about OpenAI must not reach a test."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _nothing_at_full_price(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test may make an emulator answer a batchable call in real time, unless it is marked `full_price`."""
    paid: list[str] = []
    answer_now = Emulator._answer_now

    async def noted(self: Emulator, endpoint: str, sent: Any) -> Any:
        paid.append(endpoint)
        return await answer_now(self, endpoint, sent)

    monkeypatch.setattr(Emulator, "_answer_now", noted)
    yield
    if request.node.get_closest_marker("full_price") is None:
        assert not [endpoint for endpoint in paid if endpoint in BATCHABLE_ENDPOINTS]
