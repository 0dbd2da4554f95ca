"""Keys from files: unlike a key on the command line, other users of the machine do not see them in `ps`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from .flags import UsageError
from .output import print_notice

MOST_BYTES = 65_536
"""Far longer than any key, so that a wrong path such as /dev/zero ends."""


def key_given(key: str | None, path: Path | None, flag: str) -> str | None:
    """The key of a flag, or of the file of its `-file` flag; None without either. Reads the file: call it once.

    Args:
        flag: the name of the flag for the key, such as "--api-key".

    Raises:
        UsageError: both are given, or the file cannot be read, or is no key.
    """
    if path is None:
        return key
    if key is not None:
        raise UsageError(f"{flag} and {flag}-file (or their variables) exclude each other: give one of them.")
    return read_key(path, f"{flag}-file")


def read_key(path: Path, flag: str) -> str:
    """The key in a file, without white space around it. Warns if other users may read it. Raises `UsageError`."""
    try:
        with path.open("rb") as file:
            _warn_if_shared(file, f"{flag} {path}")
            content = file.read(MOST_BYTES)
    except OSError as error:
        raise UsageError(f"{flag}: cannot read {path}: {error.strerror or error}.") from error
    key = content.decode("ascii", "replace").strip()
    if not key:
        raise UsageError(f"{flag}: {path} is empty: write the key into it, and nothing else.")
    if not key.isprintable() or not key.isascii():
        raise UsageError(f"{flag}: {path} holds more than a key: write the key into it, and nothing else.")
    return key


def _warn_if_shared(file: BinaryIO, name: str) -> None:
    status = os.fstat(file.fileno())
    if os.name == "posix" and stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        print_notice(f"autobatcher: warning: {name} can be read by other users: chmod 600 it.")
