"""Which calls are forwarded, and by which path: only those that the emulator knows, none that leads elsewhere. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from .answers import ANSWERABLE
from .wire import RefusedError

_MODEL = re.compile(r"/models/(.+)", re.DOTALL)
_MOST_DECODINGS = 4  # Servers decode a path once or twice. What is still encoded after this many times is no name.


def forwarded_path(endpoint: str) -> str:
    """The path below the base URL for an endpoint such as "/v1/embeddings" or "/v1/models/NAME".

    Raises `RefusedError` (404) for an unknown endpoint, and for a model whose name has dot segments, however encoded.
    """
    path = re.sub(r"^/v\d+(?=/)", "", endpoint)
    if f"/v1{path}" in ANSWERABLE or path == "/models":
        return path
    model = _MODEL.fullmatch(path)
    if model is None or not _is_name(model[1]):
        raise RefusedError(404, f"Invalid URL: {endpoint!r} is not forwarded.", code="unknown_url")
    return "/models/" + quote(model[1], safe="/:@")


def _is_name(name: str) -> bool:
    for _ in range(_MOST_DECODINGS):
        segments = name.replace("\\", "/").split("/")
        if not all(segments) or not {".", ".."}.isdisjoint(segments) or not name.isprintable():
            return False
        decoded = unquote(name)
        if decoded == name:
            return True
        name = decoded
    return False
