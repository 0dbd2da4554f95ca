"""Ids that others choose: those of batches and files, and the cursors of lists. Pure.

They become part of a URL that our key is sent to, of headers, of logs and of the journal. `..` would lead elsewhere,
percent-encoded or not, since servers decode before they resolve.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from .failures import UpstreamError

MAX_ID_CHARACTERS = 1_000
"""The longest ids we know of are LiteLLM's, of some hundred characters."""

_USABLE = re.compile(rf"[!-~]{{1,{MAX_ID_CHARACTERS}}}")  # ASCII, without white space and control characters
_UNUSABLE_CHARACTERS = frozenset("/\\?#%")


def is_usable_id(identifier: str) -> bool:
    """Whether the id can be one segment of a path, and nothing else."""
    return (
        _USABLE.fullmatch(identifier) is not None
        and _UNUSABLE_CHARACTERS.isdisjoint(identifier)
        and identifier.strip(".") != ""
    )


def path_segment(identifier: str) -> str:
    """Quote an id for use in a path. It may come from a server, a journal or a command line.

    Raises:
        UpstreamError: if it would lead to another path.
    """
    if not is_usable_id(identifier):
        raise UpstreamError(f"{identifier[:100]!r} is not an id of a batch or file", is_permanent=True)
    return quote(identifier, safe="")
