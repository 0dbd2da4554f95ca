"""The models that `parse` returns, made of validated ones. The SDK dumps and constructs them anew, which takes longer
than all the rest of a call.

The first answer is parsed both ways, which also tells the SDK's classes. Where the ways differ, as they may in a later
SDK, its own function parses all answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

Kinds = Sequence[type]
"""The SDK's classes of what is parsed, from the outside in."""


class ParsedModels:
    """Makes the parsed models of one method.

    Args:
        by_the_sdk: the SDK's function, given a model and the class that its text is parsed into.
        kinds_in: the classes in what that function returned; None if not all occur there.
        parsed: the same with our own code; None for what only the SDK can parse.
    """

    def __init__(
        self,
        by_the_sdk: Callable[[Any, Any], Any],
        kinds_in: Callable[[Any], Kinds | None],
        parsed: Callable[[Kinds, Any, Any], Any],
    ) -> None:
        self._by_the_sdk = by_the_sdk
        self._kinds_in = kinds_in
        self._parsed = parsed
        self._kinds: Kinds | None = None
        self._differ = False

    def parsed(self, model: Any, form: Any) -> Any:
        """The parsed model of a validated one. Raises what the SDK raises."""
        if self._kinds is not None:
            parsed = self._parsed(self._kinds, model, form)
            return self._by_the_sdk(model, form) if parsed is None else parsed
        parsed = self._by_the_sdk(model, form)
        if not self._differ and (kinds := self._kinds_in(parsed)) is not None:
            ours = self._parsed(kinds, model, form)
            if ours is not None:
                self._differ = not _are_same(ours, parsed)
                self._kinds = None if self._differ else kinds
        return parsed


def parsed_completion(kinds: Kinds, completion: Any, form: Any) -> Any:
    """The parsed model of a chat completion; None if it has tool calls or was cut."""
    kind, choice_kind, message_kind = kinds
    choices = []
    for choice in completion.choices:
        message = choice.message
        if choice.finish_reason in _CUT or message.tool_calls or "parsed" in message.model_extra:
            return None
        is_parsed = message.content and not message.refusal
        value = form.model_validate_json(message.content) if is_parsed else None
        message = _recast(message_kind, message, parsed=value, tool_calls=None)
        choices.append(_recast(choice_kind, choice, message=message))
    return _recast(kind, completion, choices=choices)


def kinds_of_completion(parsed: Any) -> Kinds | None:
    if not parsed.choices:
        return None
    choice = parsed.choices[0]
    return type(parsed), type(choice), type(choice.message)


_CUT = ("length", "content_filter")


def parsed_response(kinds: Kinds, response: Any, form: Any) -> Any:
    """The parsed model of a response; None if it has more in it than messages and reasoning."""
    kind, message_kind, text_kind = kinds
    output = []
    for item in response.output:
        if item.type == "message" and getattr(item, "phase", None) is None:
            content = [_parsed_content(text_kind, each, form) for each in item.content]
            output.append(_recast(message_kind, item, content=content))
        elif item.type == "reasoning":
            output.append(item)
        else:
            return None
    return _recast(kind, response, output=output)


def _parsed_content(kind: type, content: Any, form: Any) -> Any:
    if content.type != "output_text":
        return content
    return _recast(kind, content, parsed=form.model_validate_json(content.text))


def kinds_of_response(parsed: Any) -> Kinds | None:
    for item in parsed.output:
        for content in item.content if item.type == "message" else ():
            if content.type == "output_text":
                return type(parsed), type(item), type(content)
    return None


def _recast(kind: Any, model: Any, **values: Any) -> Any:
    """A model of another class, with the same fields but for `values`. Made as the SDK's `construct` makes one."""
    made = kind.__new__(kind)
    _set(made, "__dict__", {**model.__dict__, **values})
    _set(made, "__pydantic_fields_set__", model.model_fields_set | values.keys())
    _set(made, "__pydantic_extra__", model.__pydantic_extra__)
    _set(made, "__pydantic_private__", None)
    return made


_set = object.__setattr__


def _are_same(first: Any, second: Any) -> bool:
    """Whether two values have the same types, fields and values, in depth. Unknown fields may count as set, or not."""
    if type(first) is not type(second):
        return False
    if isinstance(first, BaseModel):
        known = type(first).model_fields.keys()
        are_set_alike = first.model_fields_set & known == second.model_fields_set & known
        return are_set_alike and _are_same(dict(first), dict(second))
    if isinstance(first, dict):
        return list(first) == list(second) and _are_same(list(first.values()), list(second.values()))
    if isinstance(first, list):
        return len(first) == len(second) and all(map(_are_same, first, second))
    return bool(first == second)
