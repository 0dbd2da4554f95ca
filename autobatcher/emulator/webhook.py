"""Signed webhooks (Standard Webhooks): the emulator says that a batch has ended, as OpenAI does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskStatus

from .batch import Batch
from .batches import Batches

if TYPE_CHECKING:
    import httpx

logger: logging.Logger = logging.getLogger("autobatcher.emulator")

LOOK_SECONDS = 0.05
"""How often it is looked which batches have ended: nothing else runs by itself."""

TIMEOUT_SECONDS = 10.0


class Webhook:
    """Where webhooks are sent. Each is sent once; one that is not taken is logged.

    Args:
        url: takes a POST.
        secret: signs them: base64 after `whsec_`.

    Raises:
        ValueError: the secret is none.
    """

    def __init__(self, url: str, secret: str) -> None:
        prefix, _, encoded = secret.partition("whsec_")
        if prefix or not encoded:
            raise ValueError("a webhook's secret begins with whsec_, and base64 follows")
        self._url = url
        self._key = base64.b64decode(encoded, validate=True)
        self._sent = 0

    async def run(
        self,
        batches: Batches,
        now: Callable[[], float],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Sends a webhook for each batch that ends, until cancelled.

        now: the clock of the batches.
        """
        import httpx

        ended: list[Batch] = []
        batches.on_ended = ended.append
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as http,
            anyio.create_task_group() as nursery,
        ):
            task_status.started()
            while True:
                batches.advance(now())
                while ended:
                    nursery.start_soon(self._send, http, ended.pop(0))
                await anyio.sleep(LOOK_SECONDS)

    async def _send(self, http: httpx.AsyncClient, batch: Batch) -> None:
        self._sent += 1
        name, created = f"evt_{self._sent:08x}", int(time.time())
        event = {"id": name, "object": "event", "created_at": created, "type": f"batch.{batch.status}"}
        content = json.dumps({**event, "data": {"id": batch.id}}).encode()
        from httpx import HTTPError  # here, because it is slow to import

        try:
            answer = await http.post(self._url, content=content, headers=self._headers(name, created, content))
            answer.raise_for_status()
        except HTTPError as error:
            logger.warning("autobatcher emulate: the webhook of batch %s was not taken: %s", batch.id, error)

    def _headers(self, name: str, created: int, content: bytes) -> dict[str, str]:
        digest = hmac.new(self._key, f"{name}.{created}.".encode() + content, hashlib.sha256).digest()
        return {
            "content-type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(created),
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
