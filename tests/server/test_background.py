"""`background: true`: a response that is told at once, and asked for later."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.harness import open_harness, wait_for_event
from tests.server.apps import ended, sdk, serving

pytestmark = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)

CALL: dict[str, Any] = {"model": "m", "input": "hello", "background": True}


async def test_a_response_is_queued_at_once_then_in_progress_then_completed_under_its_id() -> None:
    async with open_harness(batch_seconds=60.0) as harness, serving(harness) as app, sdk(app) as client:
        begun = await client.responses.create(**CALL, metadata={"a": "b"}, temperature=0.5)
        assert (begun.status, begun.background, begun.object, begun.model) == ("queued", True, "response", "m")
        assert (begun.output, begun.error, begun.usage, begun.metadata) == ([], None, None, {"a": "b"})
        assert begun.temperature == 0.5
        assert begun.id.startswith("resp_")
        await wait_for_event(harness, "batch_submitted")
        assert (await client.responses.retrieve(begun.id)).status == "in_progress"
        response = await ended(client, begun.id)
        assert (response.status, response.id, response.created_at) == ("completed", begun.id, begun.created_at)
        assert response.background is True
        assert "hello" in response.output_text
        assert response.usage is not None
        (sent,) = harness.bodies_sent()
        assert sent == {"model": "m", "input": "hello", "metadata": {"a": "b"}, "temperature": 0.5}
        await client.responses.delete(begun.id)
        with pytest.raises(openai.NotFoundError, match=begun.id):
            await client.responses.retrieve(begun.id)
