"""What the commands' flags have in common: their types, their checks, and the error for a wrong one."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter
from cyclopts.validators import Number


class UsageError(Exception):
    """The command was called wrongly. Its one-line message says which flag, and what to write instead."""


def _check_finite(type_: Any, value: float | None) -> None:
    if value is not None and not math.isfinite(value):
        raise ValueError("Must be a finite number.")


def _check_url(type_: Any, value: str | None) -> None:
    if value is None:
        return
    try:
        parts = urlsplit(value)
        complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        complete = False
    if not complete:
        raise ValueError("Must be a URL such as https://api.openai.com/v1.")


Dialect = Literal["openai", "doubleword"]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]
Seconds = Annotated[float, Parameter(validator=(_check_finite, Number(gte=0)))]
PositiveSeconds = Annotated[float, Parameter(validator=(_check_finite, Number(gte=0.01)))]
Dollars = Annotated[float, Parameter(validator=(_check_finite, Number(gte=0)))]
Percent = Annotated[float, Parameter(validator=(_check_finite, Number(gte=0, lte=100)))]
Url = Annotated[str, Parameter(validator=_check_url)]
