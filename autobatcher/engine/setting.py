"""How a setting is described: by its field's annotation."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING
from functools import cache
from typing import Any, Literal, NamedTuple


class Flag(NamedTuple):
    """How the command line has a setting, where that is not as Python has it.

    Attributes:
        name: the flag's name, in place of the setting's.
        help: its help, in place of the setting's.
        negates: whether giving the flag makes the setting False.
    """

    name: str | None = None
    help: str | None = None
    negates: bool = False


class Setting(NamedTuple):
    """What is to be known of a setting beside its name, type and default.

    Attributes:
        help: what it does, in a sentence that begins with a small letter and has no full stop at its end.
        unit: what its number counts; the command line takes such numbers with units, as in "30m" or "64MB".
        check: takes a value and returns the one to keep; see `checks`.
        flag: how the command line has it; None if it does not.
        shown_default: the default as docs/settings.md shows it, where `repr` does not say it well.
    """

    help: str
    unit: Literal["seconds", "bytes"] | None = None
    check: Callable[[Any], Any] | None = None
    flag: Flag | None = Flag()
    shown_default: str | None = None


class Described(NamedTuple):
    """One setting, with all that its field says of it."""

    name: str
    type: Any
    default: Any
    setting: Setting

    @property
    def flag(self) -> str | None:
        """The name of its flag, such as "batch-window"; None if the command line does not have it."""
        if self.setting.flag is None:
            return None
        return (self.setting.flag.name or self.name.removesuffix("_seconds")).replace("_", "-")

    def checked(self, value: Any) -> Any:
        """The value to keep. Raises `TypeError` or `ValueError`, naming the setting."""
        if self.setting.check is None:
            return value
        try:
            return self.setting.check(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self.name} {error}") from None


@cache
def descriptions(arguments: type) -> tuple[Described, ...]:
    """The settings that a class of arguments describes, the first one first; not the SDK's own."""
    return tuple(
        Described(name, hint.__origin__, default_of(arguments, name), found)
        for name, hint in annotations_of(arguments).items()
        for found in getattr(hint, "__metadata__", ())
    )


def annotations_of(arguments: type) -> dict[str, Any]:
    """The annotations of its fields, its own ones first."""
    return {
        name: hint for each in arguments.__mro__ for name, hint in inspect.get_annotations(each, eval_str=True).items()
    }


def default_of(arguments: type, name: str) -> Any:
    """The default of one field."""
    described = arguments.__dataclass_fields__.get(name)  # type: ignore[attr-defined]  # inherited from a dataclass
    if described is None or described.default_factory is MISSING:
        return getattr(arguments, name)
    return described.default_factory()
