"""Types and checks of flags, and the error for wrong usage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter, Token
from cyclopts.validators import Number

from ..engine.journal_url import JournalUrl, Place, checked_place
from ..engine.units import format_duration, format_size, parse_duration, parse_size
from ..money.cap import cap_of
from ..redaction import has_user
from ..upstream.base_url import base_url_mistake


class UsageError(Exception):
    """Wrong usage of a command. The one-line message names the flag and says what to write instead.

    Attributes:
        exit_code: of the command.
    """

    exit_code: int = 2


class PassingError(UsageError):
    """It may work at the next start, with the same flags: a supervisor may try again."""

    exit_code = 1


def unknown_option(word: str) -> UsageError:
    """A flag stands where another thing is expected, so it was mistyped."""
    return UsageError(f"Unknown option: {word.partition('=')[0]}.")


def _refuse_flag(type_: Any, value: str) -> None:
    if value.startswith("-") and value != "-":
        raise unknown_option(value)


def _check_finite(type_: Any, value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise ValueError("Must be a finite number.")


def _check_url(type_: Any, value: str | None) -> None:
    if value is None:
        return
    if has_user(value):
        raise ValueError("Must have no user and password, which would replace the key: leave them out.")
    if (mistake := base_url_mistake(value)) is not None:
        raise ValueError(f"{mistake[0].upper()}{mistake[1:]}.")
    try:
        parts = urlsplit(value)
        complete = (
            value.isprintable() and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        complete = False
    if not complete:
        raise ValueError("Must be a URL such as https://api.openai.com/v1.")


def _check_cap(type_: Any, value: str | None) -> None:
    try:
        if value is not None:
            cap_of(value)
    except ValueError as error:
        raise ValueError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error


def _duration(type_: Any, tokens: Sequence[Token]) -> float:
    return parse_duration(tokens[0].value)


def _size(type_: Any, tokens: Sequence[Token]) -> int:
    return parse_size(tokens[0].value)


def _place(type_: Any, tokens: Sequence[Token]) -> Place:
    try:
        place = checked_place(tokens[0].value)
    except ValueError as error:  # one of cyclopts' own would quote the URL
        raise UsageError(f"{tokens[0].keyword or 'the URL'} {error}.") from None
    return place if isinstance(place, JournalUrl) else Path(place)


def _shown_duration(seconds: float | None) -> str | None:
    return None if seconds is None else format_duration(seconds)


_DURATION = Parameter(converter=_duration, metavar="DURATION", show_default=_shown_duration)
"""A number of seconds, or a number with a unit, as in 30m."""

COMMAND_LINE_ONLY = Parameter(show_env_var=False)
"""For flags that delete, or widen what a command does: neither a variable nor a file may set them."""

LANES_METAVAR = "LANE,..."
"""Names with commas between them. A file may list them, too."""

DOLLARS_METAVAR = "USD"
"""A number of dollars, with a period if it counts for one. In a file it may be a number."""

Dialect = Literal["openai", "doubleword"]
"""What the demo can be like: it makes calls of all kinds."""

InputName = Annotated[str, Parameter(allow_leading_hyphen=True, validator=_refuse_flag)]
"""A file to read, or - for stdin."""

Count = Annotated[int, Parameter(validator=Number(gte=1))]
Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]
Seconds = Annotated[float, _DURATION]
SecondsOrNone = Annotated[float | None, _DURATION]
PositiveSeconds = Annotated[float, _DURATION, Parameter(validator=Number(gte=0.01))]
Bytes = Annotated[int, Parameter(converter=_size, metavar="SIZE", show_default=format_size, validator=Number(gte=1))]
Secret = Annotated[str | None, Parameter(show_default=False)]
Switch = Annotated[bool, Parameter(negative=(), show_default=False)]
Dollars = Annotated[float, Parameter(validator=(_check_finite, Number(gte=0)))]
Percent = Annotated[float, Parameter(validator=(_check_finite, Number(gte=0, lte=100)))]
SpendingCap = Annotated[str | None, Parameter(metavar=DOLLARS_METAVAR, show_default=False, validator=_check_cap)]
Lanes = Annotated[list[str] | None, Parameter(negative=(), metavar=LANES_METAVAR, show_default=False)]
Url = Annotated[str, Parameter(validator=_check_url)]
JournalPlace = Annotated[Place, Parameter(converter=_place, n_tokens=1, metavar="PATH|URL")]
