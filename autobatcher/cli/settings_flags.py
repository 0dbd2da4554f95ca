"""Flags made from the descriptions of the settings, and turned back into settings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from ..engine.setting import Described, descriptions
from ..engine.settings import Settings
from .flags import Bytes, Count, JournalPlace, Lanes, Seconds, SecondsOrNone, SpendingCap, Switch, UsageError

_Flags = TypeVar("_Flags")

_TYPES: dict[Any, Any] = {
    bool: Switch,
    float: Seconds,
    int: Count,
    Mapping[str, str]: Annotated[list[str], Parameter(negative=(), metavar="KEY=VALUE", show_default=False)],
    str: str,
    str | os.PathLike[str] | None: JournalPlace | None,
    float | str | None: SecondsOrNone,
    Decimal | float | str | None: SpendingCap,
    Mapping[str, Any] | str | os.PathLike[str] | None: Path | None,
    Sequence[str] | None: Lanes,
}
"""The type of a flag, by the type of its setting."""


def with_settings(flags: type[_Flags]) -> type[_Flags]:
    """Class decorator: add a flag for each setting that has one, before the class's own flags."""
    described = [each for each in descriptions(Settings) if each.flag is not None]
    flags.__annotations__ = {_field(each): _annotation(each) for each in described} | flags.__annotations__
    for each in described:
        setattr(flags, _field(each), _default(each))
    return flags


def settings_of(flags: object) -> dict[str, Any]:
    """The settings given by the flags. Raises `UsageError` for an invalid one."""
    return {
        each.name: _value(each, getattr(flags, _field(each)))
        for each in descriptions(Settings)
        if each.flag is not None
    }


def _field(described: Described) -> str:
    return (described.flag or "").replace("-", "_")


def _annotation(described: Described) -> Any:
    of_flag, setting = described.setting.flag, described.setting
    help_ = (of_flag and of_flag.help) or setting.help
    kind = Bytes if setting.unit == "bytes" else _TYPES.get(described.type, described.type)  # a choice is itself
    checks_value = not isinstance(described.default, Mapping) and setting.check is not None
    validator = partial(_validate, described) if checks_value else None
    return Annotated[kind, Parameter(help=_sentence(help_), validator=validator)]


def _validate(described: Described, _: Any, value: Any) -> None:
    assert described.setting.check is not None
    try:
        described.setting.check(_value(described, value))
    except (TypeError, ValueError) as error:
        raise ValueError(_sentence(str(error))) from error


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _default(described: Described) -> Any:
    if _is_negated(described):
        return False
    return field(default_factory=list) if isinstance(described.default, Mapping) else described.default


def _value(described: Described, given: Any) -> Any:
    if _is_negated(described):
        return not given
    if described.type == Sequence[str] | None and given is not None:
        return ",".join(given)
    return parse_metadata(given) if isinstance(described.default, Mapping) else given


def _is_negated(described: Described) -> bool:
    return described.setting.flag is not None and described.setting.flag.negates


def parse_metadata(items: list[str]) -> dict[str, str]:
    """KEY=VALUE strings as a dict. Raises `UsageError` for any other string."""
    pairs = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise UsageError(f"--batch-metadata: expected KEY=VALUE, not {item!r}.")
        pairs[key] = value
    return pairs
