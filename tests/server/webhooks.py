"""Signed webhooks, as the specification's own text has them: for tests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"the provider's own secret").decode()


def signed(content: bytes, *, secret: str = SECRET, age_seconds: float = 0.0) -> dict[str, str]:
    """The headers of a webhook with this body."""
    timestamp = str(int(time.time() - age_seconds))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, b"msg_1." + timestamp.encode() + b"." + content, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": timestamp, "webhook-signature": signature}


def event(kind: str, **subject: Any) -> bytes:
    return json.dumps({"type": kind, "data": subject}).encode()
