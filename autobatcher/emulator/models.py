"""The models of the emulator: any name will do, and two are listed. Pure."""

from __future__ import annotations

from typing import Any

MODELS = ("gpt-emulator", "text-embedding-emulator")


def list_models(name: str) -> dict[str, Any]:
    """The answer to GET /models, or, with a name, to GET /models/NAME."""
    if name:
        return _model(name)
    return {"object": "list", "data": [_model(each) for each in MODELS]}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "autobatcher"}
