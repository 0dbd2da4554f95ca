from __future__ import annotations

from array import array
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from openai import omit
from openai.resources.embeddings import AsyncEmbeddings
from openai.types import CreateEmbeddingResponse
from pydantic import ValidationError

from ..fast_path import FastPath, with_fast_path
from ..plain_arguments import is_given
from ..plain_method import PlainMethod, constructed


class CreateMethod(PlainMethod):
    """The SDK asks for base64, and makes numbers of it, unless the caller asks for a format."""

    def fields(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        fields = super().fields(arguments)
        if fields is not None:
            fields.setdefault("encoding_format", "base64")
        return fields

    def input_count(self, fields: Mapping[str, Any]) -> int:
        inputs = fields["input"]
        is_one = type(inputs) is not list or (inputs and type(inputs[0]) not in (str, list))  # a text, or its tokens
        return 1 if is_one else len(inputs)

    def kept(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the caller asked for a format."""
        return is_given(arguments.get("encoding_format", omit))

    def arguments(self, body: bytes, kept: bool) -> dict[str, Any]:
        arguments = super().arguments(body, kept)
        if not kept:
            del arguments["encoding_format"]
        return arguments

    def answer(self, body: bytes, kept: bool) -> Any:
        if kept:
            return super().answer(body, kept)
        try:
            return _validated(body) or _with_numbers(constructed(CreateEmbeddingResponse, body))
        except (AttributeError, TypeError, ValueError):  # the SDK fails, too, and says with what
            return None


CREATE = CreateMethod(AsyncEmbeddings, "create", "/v1/embeddings", CreateEmbeddingResponse, frozenset({"input"}))


def _validated(body: bytes) -> CreateEmbeddingResponse | None:
    """The model of an answer that has all fields in their exact types, with numbers for base64. None for any other."""
    try:
        fields = _decode(body)
        encoded = [_take_text(item) for item in fields["data"]]
        response = _validate(fields, strict=True)
    except (KeyError, TypeError, msgspec.MsgspecError, UnicodeDecodeError, ValidationError):
        return None
    for item, text in zip(response.data, encoded, strict=True):
        if text is not None:
            item.embedding = _numbers(text)
    return response if encoded else None


def _take_text(item: dict[str, Any]) -> str | None:
    """Take the base64 out of an item, whose model has a list of numbers."""
    text = item["embedding"]
    if type(text) is not str:
        return None
    item["embedding"] = []
    return text


def _with_numbers(response: Any) -> Any:
    if response is None or not response.data:
        return None
    for item in response.data:
        if isinstance(item.embedding, str):
            item.embedding = _numbers(item.embedding)
    return response


def _numbers(text: str) -> list[float]:
    """The SDK uses numpy if it is there; the numbers are the same."""
    return array("f", b64decode(text)).tolist()


_decode = msgspec.json.Decoder().decode
_validate = CreateEmbeddingResponse.__pydantic_validator__.validate_python


if not TYPE_CHECKING:

    class BatchEmbeddings(AsyncEmbeddings):
        def __init__(self, client: Any, client_class: type) -> None:
            super().__init__(client)
            self._fast_path = FastPath(client, client_class)

        create = with_fast_path(CREATE)
