"""Standard Webhooks: whether one is genuine, and which batch it says has ended. Pure, but for the clock."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import msgspec
from openai import AsyncOpenAI, InvalidWebhookSignatureError

TOLERANCE_SECONDS = 300
"""How far the time of a webhook may be from ours. One that is sent again within it only makes a batch be polled."""

ENDS = frozenset(
    f"batch.{how}"
    for how in ("completed", "succeeded", "failed", "expired", "cancelled")  # Gemini's are "succeeded"
)


def secret_mistake(secret: str) -> str | None:
    """What is wrong with a signing secret; None if it can be used."""
    if not secret.startswith("whsec_"):
        return None if secret else "is empty: give one, or omit it"
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    return None if key else "has no base64 after whsec_: see that it is complete"


def is_genuine(client: AsyncOpenAI, body: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> bool:
    """Whether a holder of one of these secrets signed the webhook, a moment ago.

    Args:
        client: any; the SDK has the signature's arithmetic there.
        headers: names in lower case.
    """
    return any(_is_signed(client, body, headers, secret) for secret in secrets)


def _is_signed(client: AsyncOpenAI, body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    try:
        client.webhooks.verify_signature(body, headers, secret=secret, tolerance=TOLERANCE_SECONDS)
    except (InvalidWebhookSignatureError, ValueError, TypeError):  # the latter: no header, no UTF-8, no ASCII
        return False
    return True


class _Subject(msgspec.Struct):
    id: str | None = None
    batch_id: str | None = None  # Doubleword's


class _Event(msgspec.Struct):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


def ended_batch(body: bytes) -> str | None:
    """The id of the batch that a webhook says has ended, as it names it; None if it says something else.

    Raises:
        ValueError, RecursionError: the body is no event.
    """
    event = msgspec.json.decode(body, type=_Event)
    if event.type not in ENDS:
        return None
    subject = msgspec.json.decode(event.data, type=_Subject)
    batch_id = subject.batch_id or subject.id
    if batch_id is None:
        raise ValueError("it names no batch")
    return batch_id
