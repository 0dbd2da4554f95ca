"""The fast path of `.parse()`: `create` with the schema of a class, and objects of the class in the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from openai import omit

from .class_schemas import ClassSchemas
from .parsed_models import ParsedModels, kinds_of_completion, kinds_of_response, parsed_completion, parsed_response
from .plain_method import PlainMethod, constructed


class ParseMethod(PlainMethod):
    """`parse`, where it is called with a class of pydantic and no tools.

    Args:
        owner, endpoint, model, required, unusual, has_unions: as for any other method.
        form: the argument that is the class.
        make_schema: the SDK's function that makes the body's field of the class.
    """

    _models: ParsedModels

    def __init__(
        self,
        owner: Any,
        endpoint: str,
        model: Any,
        required: frozenset[str] = frozenset(),
        *,
        form: str,
        make_schema: Callable[[Any], Any] | None,
        unusual: frozenset[str] = frozenset(),
        has_unions: bool = False,
    ) -> None:
        super().__init__(owner, "parse", endpoint, model, required, unusual | {"tools", form}, has_unions=has_unions)
        self._form = form
        self._schemas = ClassSchemas(make_schema)

    def fields(self, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        schema = self._schemas.schema_of(arguments.get(self._form))
        if schema is None:
            return None
        fields = super().fields({name: value for name, value in arguments.items() if name != self._form})
        return None if fields is None else self.with_schema(fields, schema)

    def with_schema(self, fields: dict[str, Any], schema: msgspec.Raw) -> dict[str, Any] | None:
        """The fields with the schema among them; None for a call that goes through the SDK."""
        raise NotImplementedError

    def kept(self, arguments: Mapping[str, Any]) -> Any:
        """The class."""
        return arguments[self._form]

    def arguments(self, body: bytes, kept: Any) -> dict[str, Any]:
        return {**self.without_schema(super().arguments(body, kept)), self._form: kept}

    def without_schema(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What `with_schema` got."""
        raise NotImplementedError

    def answer(self, body: bytes, kept: Any) -> Any:
        validated = self.validated(body)
        if validated is not None:
            return self._models.parsed(validated, kept)
        plain = constructed(self._model, body)
        return None if plain is None else self.by_the_sdk(plain, kept)

    def by_the_sdk(self, plain: Any, form: Any) -> Any:
        """What the SDK makes of the model of an answer. Raises what the SDK raises."""
        raise NotImplementedError


class ParseChat(ParseMethod):
    """`chat.completions.parse`."""

    def __init__(self, owner: Any, model: Any, sdk: Any) -> None:
        make_schema = getattr(sdk, "type_to_response_format_param", None)
        self._parse = getattr(sdk, "parse_chat_completion", None)
        self._models = ParsedModels(self.by_the_sdk, kinds_of_completion, parsed_completion)
        required = frozenset({"messages"})
        super().__init__(
            owner, "/v1/chat/completions", model, required, form="response_format", make_schema=make_schema
        )

    def with_schema(self, fields: dict[str, Any], schema: msgspec.Raw) -> dict[str, Any] | None:
        return None if self._parse is None else {**fields, "response_format": schema, "stream": False}

    def without_schema(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name != "stream"}

    def by_the_sdk(self, plain: Any, form: Any) -> Any:
        assert self._parse is not None
        return self._parse(response_format=form, input_tools=omit, chat_completion=plain)


class ParseResponse(ParseMethod):
    """`responses.parse`."""

    def __init__(self, owner: Any, model: Any, sdk: Any) -> None:
        make_schema = getattr(sdk, "type_to_text_format_param", None)
        self._parse = getattr(sdk, "parse_response", None)
        self._models = ParsedModels(self.by_the_sdk, kinds_of_response, parsed_response)
        super().__init__(
            *(owner, "/v1/responses", model),
            form="text_format",
            make_schema=make_schema,
            unusual=frozenset({"parse_as"}),
            has_unions=True,
        )

    def with_schema(self, fields: dict[str, Any], schema: msgspec.Raw) -> dict[str, Any] | None:
        text = fields.get("text") or {}
        if self._parse is None or type(text) is not dict or "format" in text or _changes_format(fields.get("input")):
            return None
        return {**fields, "text": {**text, "format": schema}}

    def without_schema(self, fields: dict[str, Any]) -> dict[str, Any]:
        text = {name: value for name, value in fields["text"].items() if name != "format"}
        return {**fields, "text": text or omit}

    def by_the_sdk(self, plain: Any, form: Any) -> Any:
        assert self._parse is not None
        return self._parse(text_format=form, input_tools=omit, response=plain)


def _changes_format(given: Any) -> bool:
    """Whether an item of the input may say that the text has another format from there on."""
    return type(given) is list and any(type(item) is dict and "text" in item for item in given)
