"""Azure's deployments: real-time calls are below one, files and batches are not. Pure."""

from __future__ import annotations

import re

import msgspec

from ..errors import UnbatchableRequestError

_DEPLOYMENT = re.compile(r"(?P<resource>.*/openai)/deployments/(?P<name>[^/?#]+)")


def without_deployment(base_url: str) -> str:
    """The base URL of a resource's files and batches, given that of a deployment. Any other is returned unchanged."""
    found = _DEPLOYMENT.fullmatch(base_url)
    return found["resource"] if found else base_url


def is_deployment(base_url: str) -> bool:
    """Whether a base URL is that of a deployment."""
    return _DEPLOYMENT.fullmatch(base_url) is not None


class _Model(msgspec.Struct):
    model: str | None = None


_decode_model = msgspec.json.Decoder(_Model).decode


def check_deployment(url_path: str, body: bytes) -> None:
    """Refuse a call whose model is not the deployment of its URL: a line of a batch has the model only.

    Raises:
        UnbatchableRequestError: naming both.
    """
    found = _DEPLOYMENT.match(url_path)
    try:
        model = _decode_model(body).model if found else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return  # a body that is not valid is refused elsewhere
    if found and model != found["name"]:
        raise UnbatchableRequestError(
            f"This call goes to the deployment {found['name']!r} with model={model!r}. A batch knows the model only: "
            f"pass model={found['name']!r}.",
            param="model",
        )
