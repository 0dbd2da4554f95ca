"""What is wrong with a command line, where cyclopts names another thing than what was mistyped. Pure."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence

from cyclopts import CycloptsError, MissingArgumentError, UnknownCommandError

EXAMPLES = {"--output": "-o answers.jsonl", "IN": "requests.jsonl"}

ANSWERED_BEFORE = ("help", "version")
"""Commands that cyclopts does not know of."""


def explained(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Why a command line is refused."""
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        return _unknown_command(error.unused_tokens[0]) or str(error)
    if isinstance(error, MissingArgumentError):
        return _missing(error) or _negative_value(arguments, str(error)) or str(error)
    return _negative_value(arguments, str(error)) or str(error)


def _unknown_command(word: str) -> str | None:
    if word.startswith("-"):
        return f"Unknown option: {word}.{_suggested(word, ('--help', '--version', '--install-completion'))}"
    meant = _suggested(word, ANSWERED_BEFORE)
    return f'Unknown command "{word}".{meant}' if meant else None


def _missing(error: MissingArgumentError) -> str | None:
    """An option was mistyped or left out; None if it was given without its value."""
    argument = error.argument
    if argument is None or argument.tokens or error.keyword is not None:
        return None
    for word in error.unused_tokens or ():
        if re.match(r"--?[A-Za-z]", word):
            option = word.partition("=")[0]
            return f"Unknown option: {option}.{_suggested(option, argument.names)}"
    example = EXAMPLES.get(argument.name)
    return f"{argument.name} is missing{f', e.g. {example}' if example else ''}."


def _suggested(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _negative_value(arguments: Sequence[str], reason: str) -> str | None:
    """A value was taken for a flag, since it begins with a minus; None if none was."""
    for flag, value in itertools.pairwise(arguments):
        if f"{flag} requires an argument" in reason and re.match(r"-[0-9.]", value):
            return f"{flag} {value}: a value that begins with a minus is written {flag}={value}."
    return None
