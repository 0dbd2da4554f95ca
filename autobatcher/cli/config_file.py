"""The TOML file of --config: its keys for one command, with their values checked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from cyclopts import Argument

from ..engine.spelling import did_you_mean
from .flags import DOLLARS_METAVAR, LANES_METAVAR, UsageError


def values_for(
    document: Mapping[str, Any], command: str, flags: Mapping[str, Mapping[str, Argument]], path: Path
) -> dict[str, list[str]]:
    """The values for the flags of one command, as strings.

    Keys outside tables apply to every command that has the flag; the command's own table wins.

    Args:
        flags: for each command that takes a file, its arguments by key.

    Raises:
        UsageError: an unknown table or key, or a value of the wrong type.
    """
    everywhere: dict[str, list[str]] = {}
    own: dict[str, list[str]] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            _refuse_unknown(f"table [{key}]", key, flags, path)
            found = _checked(value, flags[key], f"[{key}] ", path)
            own |= found if key == command else {}
        else:
            known = {name: each for of_command in flags.values() for name, each in of_command.items()}
            everywhere |= _checked({key: value}, known, "", path)
    return {key: values for key, values in everywhere.items() if key in flags[command]} | own


def _checked(table: Mapping[str, Any], known: Mapping[str, Argument], where: str, path: Path) -> dict[str, list[str]]:
    values = {}
    for written, value in table.items():
        key = written.replace("_", "-")
        _refuse_unknown(f"key {where}{written}", key, known, path)
        wanted = _wanted(known[key])
        if not _fits(value, known[key]):
            shown = type(value).__name__ if key.endswith("-key") else repr(value)
            raise UsageError(f"--config {path}: {where}{written} must be {wanted}, not {shown}.")
        values[key] = [str(each) for each in (value if isinstance(value, list) else [value])]
    return values


def _refuse_unknown(what: str, name: str, known: Iterable[str], path: Path) -> None:
    if name not in known:
        raise UsageError(f"--config {path}: there is no {what}{did_you_mean(name, known) or '.'}")


def _fits(value: Any, argument: Argument) -> bool:
    """Whether the value has the flag's type. Numbers with units may be strings."""
    kind = _kind(argument)
    if get_origin(kind) is list:
        value = [value] if argument.parameter.metavar == LANES_METAVAR and isinstance(value, str) else value
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind in (int, float):
        numbers = (int, float) if kind is float else (int,)
        return isinstance(value, (*numbers, str) if argument.parameter.metavar else numbers)
    return isinstance(value, (str, int, float) if argument.parameter.metavar == DOLLARS_METAVAR else str)


def _wanted(argument: Argument) -> str:
    kind = _kind(argument)
    if get_origin(kind) is list:
        return "a list of texts"
    if argument.parameter.metavar == "DURATION":
        return 'a number of seconds, or a text such as "30m"'
    if argument.parameter.metavar == "SIZE":
        return 'a number of bytes, or a text such as "64MB"'
    if argument.parameter.metavar == DOLLARS_METAVAR:
        return 'a number of dollars, or a text such as "20/day"'
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "a text")


def _kind(argument: Argument) -> Any:
    """The type of its values, without None."""
    kinds = [each for each in get_args(argument.hint) if each is not NoneType]
    return kinds[0] if NoneType in get_args(argument.hint) else argument.hint
