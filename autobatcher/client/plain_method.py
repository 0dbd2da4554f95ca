"""What differs between the methods of the SDK that have a fast path, and what they have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from pydantic import ValidationError

from .plain_arguments import names_of, plain_fields
from .sdk_internals import construct_type


class PlainMethod:
    """A method of the SDK that sends its arguments as they are, and returns a model of the answer.

    Args:
        owner: the SDK's class that has the method.
        name: the method's name.
        endpoint: such as "/v1/chat/completions".
        model: the class of its answers.
        required: the arguments that a call cannot leave out, beside the model.
        unusual: the arguments with which a call goes through the SDK.
        has_unions: whether the model has unions of many classes.
    """

    def __init__(
        self,
        owner: Any,
        name: str,
        endpoint: str,
        model: Any,
        required: frozenset[str] = frozenset(),
        unusual: frozenset[str] = frozenset(),
        *,
        has_unions: bool = False,
    ) -> None:
        self.owner = owner
        self.name = name
        self.endpoint = endpoint
        self._model = model
        self._required = required
        self._has_unions = has_unions
        self._names = names_of(self.sdks_own) - unusual

    @property
    def sdks_own(self) -> Callable[..., Any]:
        """The SDK's own function, or what has been put in its place."""
        function: Callable[..., Any] = getattr(self.owner, self.name)
        return function

    def fields(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """The fields of a plain call's body, as the SDK would send them; None for any other call."""
        return plain_fields(arguments, self._names, self._required)

    def input_count(self, fields: Mapping[str, Any]) -> int:
        """The number of inputs of an embeddings call."""
        return 0

    def kept(self, arguments: Mapping[str, Any]) -> Any:
        """What an answer is read with and the body does not tell. The arguments are not kept: they are as large."""
        return None

    def arguments(self, body: bytes, kept: Any) -> dict[str, Any]:
        """The arguments that were called with, of the body that was made of them."""
        arguments: dict[str, Any] = _decode(body)
        return arguments

    def answer(self, body: bytes, kept: Any) -> Any:
        """The model of a good answer, as the SDK makes it; None if only the SDK's own code can make it.

        Raises what the SDK raises of a good answer.
        """
        return self.validated(body) or constructed(self._model, body)

    def validated(self, body: bytes) -> Any:
        """The model of an answer that has all fields in their exact types; None for any other.

        It equals the SDK's and dumps the same. Only `model_fields_set` differs: it includes unknown fields.
        """
        validator = self._model.__pydantic_validator__
        try:
            if self._has_unions:  # trying each class of a union takes twice as long with JSON
                return validator.validate_python(_decode(body), strict=True)
            return validator.validate_json(body, strict=True)
        except (ValidationError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None


_decode = msgspec.json.Decoder().decode


def constructed(model: Any, body: bytes) -> Any:
    """The model that the SDK constructs of an answer with missing or odd fields; None if it is no JSON object."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return construct_type(type_=model, value=value) if construct_type is not None and type(value) is dict else None
