"""What the values of settings are checked for. Each check returns the value to keep.

Each raises `TypeError` or `ValueError` with the end of a sentence that begins with the name of the setting.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from ..money.cap import Cap, cap_of
from ..money.given_prices import GivenPrices
from .journal_url import checked_place
from .units import parse_units

_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512
_MAX_NAME = 100

WINDOWS_WITHOUT_A_LENGTH = frozenset({"background"})
"""Completion windows that are no duration. Doubleword takes "background": whenever there is room to spare."""


def count(value: object) -> int:
    """A whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"must be a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"must be at least 1, not {value}")
    return value


def seconds(*, least: float) -> Callable[[object], float]:
    """A finite number of seconds of at least `least`."""

    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"must be a number of seconds, not {value!r}")
        if not math.isfinite(value) or value < least:
            raise ValueError(f"must be a finite number of seconds of at least {least:g}, not {value}")
        return value

    return check


def switch(value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"must be True or False, not {value!r}")
    return value


def one_of(*words: str) -> Callable[[object], str]:
    """One of these words."""

    def check(value: object) -> str:
        if value not in words:
            raise ValueError(f"must be one of {', '.join(map(repr, words))}, not {value!r}")
        return str(value)

    return check


class StandardWindow(str):
    """A completion window that nobody asked for, so that a deadline may choose another one."""

    __slots__ = ()


STANDARD_WINDOW = StandardWindow("24h")


def completion_window(value: object) -> str:
    """A duration with a unit, or a word that a provider documents."""
    if not isinstance(value, str):
        raise TypeError(f'must be text such as "24h", not {value!r}')
    completion_window_seconds(value)
    return str(value)  # not a subclass, which events could not hold


def completion_window_seconds(window: str) -> float:
    """The length of a completion window such as "24h", "1h" or "7d"; infinite for "background".

    Raises:
        ValueError: for any other text.
    """
    if window.strip().lower() in WINDOWS_WITHOUT_A_LENGTH:
        return math.inf
    try:
        return parse_units(window)
    except ValueError:
        words = ", ".join(f'"{word}"' for word in sorted(WINDOWS_WITHOUT_A_LENGTH))
        raise ValueError(f'must be a duration such as "24h", "1h" or "7d", or {words}; not {window!r}') from None


def metadata(value: object) -> dict[str, str]:
    """A copy of the pairs, within the API's limits: 16 pairs, keys of 64 and values of 512 characters."""
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"must be a dict of texts, not {type(value).__name__}")
    pairs: dict[Any, Any] = dict(value or {})
    if len(pairs) > _MAX_PAIRS:
        raise ValueError(f"may have {_MAX_PAIRS} pairs at most, not {len(pairs)}")
    for key, text in pairs.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise TypeError(f"must map texts to texts; {key!r} does not")
        if not 0 < len(key) <= _MAX_KEY:
            raise ValueError(f"must have keys of 1 to {_MAX_KEY} characters, unlike {key!r}")
        if len(text) > _MAX_VALUE:
            raise ValueError(f"must have values of {_MAX_VALUE} characters at most, unlike that of {key!r}")
    return pairs


def cap(value: object) -> Cap | None:
    """The most that may be spent, or None."""
    return None if value is None else cap_of(value)


def name(value: object) -> str:
    """A short text without control characters."""
    if not isinstance(value, str):
        raise TypeError(f"must be a text, not {value!r}")
    if not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise ValueError(f"must be 1 to {_MAX_NAME} printable characters, not {value!r:.100}")
    return value


def prices(value: object) -> GivenPrices | None:
    """Prices by model, or the path of a file with them, or None."""
    if value is None or isinstance(value, GivenPrices):
        return value
    if isinstance(value, str | os.PathLike):
        return GivenPrices.read(value)
    if isinstance(value, Mapping):
        return GivenPrices(value)
    raise TypeError(f"must be a dict or the path of a file, not {type(value).__name__}")


def journal(value: object) -> str | os.PathLike[str] | None:
    """The path of a file, a URL of PostgreSQL, or None."""
    if value is None:
        return None
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return checked_place(value)
    raise TypeError(f"must be the path of a file or a URL of PostgreSQL, not {value!r}")


def handler(value: Any) -> Any:
    """A plain function, or None."""
    if value is not None and not callable(value):
        raise TypeError(f"must be callable, not {value!r}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(getattr(value, "__call__", None)):  # noqa: B004
        raise TypeError("must be a plain function: the engine does not await it")
    return value


def tracing(value: object) -> bool | None:
    """True, False, or None for what the program has set up."""
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"must be True, False or None, not {value!r}")
    if value and not _has_opentelemetry():
        raise ValueError('is True, but OpenTelemetry is not installed: pip install "autobatcher[otel]>=1"')
    return value


def _has_opentelemetry() -> bool:
    try:
        return find_spec("opentelemetry.trace") is not None
    except ModuleNotFoundError:
        return False
