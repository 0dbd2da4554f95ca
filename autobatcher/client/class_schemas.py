"""The JSON schemas of classes, as the SDK sends them, each made once: that takes longer than all the rest of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import BaseModel

from .plain_arguments import is_json


class ClassSchemas:
    """Makes schemas of classes, and keeps the newest.

    Args:
        make_schema: the SDK's function; None if it has moved it.
        most: how many are kept at most, with their classes: some programs make a class for each call.
    """

    def __init__(self, make_schema: Callable[[Any], Any] | None, most: int = 200) -> None:
        self._make = make_schema
        self._most = most
        self._known: dict[type, tuple[object, msgspec.Raw]] = {}

    def schema_of(self, form: Any) -> msgspec.Raw | None:
        """The schema of a class of pydantic, as JSON; None for anything else, and for a class that makes its own."""
        if self._make is None or not isinstance(form, type) or not issubclass(form, BaseModel):
            return None
        known = self._known.get(form)
        if known is not None and known[0] is form.__pydantic_core_schema__:  # `model_rebuild` replaces it
            return known[1]
        if getattr(form.model_json_schema, "__func__", None) is not _MODEL_JSON_SCHEMA:
            return None
        try:
            made = self._make(form)
            schema = msgspec.Raw(msgspec.json.encode(made)) if is_json(made) else None
        except Exception:  # the SDK fails, too, and says with what
            return None
        if schema is not None:
            if len(self._known) >= self._most:
                self._known.clear()
            self._known[form] = form.__pydantic_core_schema__, schema
        return schema


_MODEL_JSON_SCHEMA = BaseModel.model_json_schema.__func__  # type: ignore[attr-defined]  # a class method
