"""What somebody may have meant by a name that does not exist. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like it; None if none is."""
    return next(iter(get_close_matches(name, sorted(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence, "; did you mean 'batch_size'?"; empty if nothing known is like it."""
    close = nearest(name, known)
    return "" if close is None else f"; did you mean {close!r}?"
