"""What the frameworks' tests share: a framework that may be missing, and a harness that batches within a second."""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from autobatcher import BatchOpenAI, BatchTransport
from tests.harness import HTTP, SDK_LIBRARY, Harness, open_harness

QUICK: dict[str, Any] = {"batch_window_seconds": 0.2, "poll_interval_seconds": 0.05}


def framework(module: str, **environment: str) -> Any:
    """The module, whatever it warns about; the test file that asks for it is skipped where it is not installed.

    Unlike `pytest.importorskip`, a framework that is there and cannot be imported is a failure.

    Args:
        environment: what must be set before the import; "{scratch}" in it is a directory that goes away at the end.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed", allow_module_level=True)
    os.environ.update({name: value.format(scratch=_scratch()) for name, value in environment.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


@functools.cache
def _scratch() -> str:
    directory = tempfile.mkdtemp(prefix="frameworks-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@asynccontextmanager
async def quick_world(**settings: Any) -> AsyncGenerator[tuple[Harness, BatchOpenAI]]:
    """An emulated upstream, and a client of it that waits for fractions of a second of real time.

    At the end nothing was paid in full: see `open_harness`.
    """
    async with open_harness() as harness, harness.client(**QUICK, **settings) as client:
        yield harness, client


@asynccontextmanager
async def quick_http_client() -> AsyncGenerator[tuple[Harness, Any]]:
    """The same with an HTTP client that batches, of the library that the SDK uses."""
    async with open_harness() as harness:
        transport = BatchTransport(
            http_client=harness.emulator.http_client(library=SDK_LIBRARY), provider=harness.like, **QUICK
        )
        async with HTTP.AsyncClient(transport=transport) as http_client:
            yield harness, http_client


def batches(harness: Harness) -> list[int]:
    """How many lines each batch had that was created so far."""
    return [len(batch.custom_ids) for batch in harness.emulator.statistics().batches]


def through_emulator(model_class: Any, harness: Harness) -> Any:
    """A class of models of langchain-doubleword or llamaindex-doubleword whose client's HTTP goes to the emulator.

    They make the client themselves, of the class that this method of theirs gives.
    """

    class ThroughEmulator(model_class):  # type: ignore[misc]  # known at run time only
        def _autobatcher_client_class(self) -> Any:
            client_class = super()._autobatcher_client_class()
            http_client = harness.emulator.http_client(library=SDK_LIBRARY)
            return functools.partial(client_class, http_client=http_client, provider="doubleword")

    return ThroughEmulator


def completion_windows(harness: Harness) -> list[str]:
    """The completion window of each batch that was created so far."""
    return [batch.completion_window for batch in harness.emulator.statistics().batches]
