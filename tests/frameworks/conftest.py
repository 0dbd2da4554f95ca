"""The frameworks run on asyncio only."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(params=["asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return request.param, {}


@pytest.fixture(autouse=True)
def _no_platform_thread() -> None:
    """Allow threads, on the real clock: the SDK may ask for the platform's name in one."""
