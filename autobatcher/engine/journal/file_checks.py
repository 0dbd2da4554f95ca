"""Whose file a journal is, before it is opened: nothing is changed before that is known.

The files are looked at by name and never opened here. Closing a descriptor would release every lock that SQLite holds
on that file in this process. So SQLite opens a file between two looks at it, which must find the same one.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from ...errors import JournalError

Identity = tuple[int, int]
"""Device and inode: which file a name leads to."""

COMPANIONS = ("-wal", "-shm")
"""SQLite reads these files beside a journal as parts of it."""

UNFINISHED = "-journal"
"""SQLite would undo a transaction by this file, and delete any file that is named in it. Autobatcher leaves none."""


def place_of(path: Path) -> Path:
    """The absolute path. Only the folder's links are followed: a journal has one name, and so one lock."""
    return Path(os.path.realpath(path.parent), path.name)


def check_files(place: Path) -> Identity | None:
    """Check a journal's file and those beside it that SQLite reads.

    Returns:
        Which file it is; None if there is none.

    Raises:
        JournalError: if one of them is not a plain file of this user alone.
        OSError: if it cannot be looked at.
    """
    identity = check_file(place, "The journal")
    for suffix in COMPANIONS:
        check_file(place.with_name(place.name + suffix), "The journal's file")
    unfinished = place.with_name(place.name + UNFINISHED)
    if os.path.lexists(unfinished):
        raise JournalError(
            f"The journal {place} cannot be used: autobatcher leaves no file {unfinished.name} beside it. If you know "
            "what left it, delete it."
        )
    return identity


def check_file(place: Path, what: str) -> Identity | None:
    """Check one file.

    Args:
        what: what the file is, for the error.
    """
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
    trouble = _trouble_with(found)
    if trouble is not None:
        raise JournalError(f"{what} {place} cannot be used: {trouble}")
    return found.st_dev, found.st_ino


def _trouble_with(found: os.stat_result) -> str | None:
    """Why a file cannot be trusted, and what to do; None if it can."""
    if stat.S_ISLNK(found.st_mode):
        return "it is a symbolic link. Give the path of the file itself."
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file."
    if found.st_nlink > 1:
        return "it is a hard link: the file has another name, and would have another lock. Copy it, and use the copy."
    if sys.platform != "win32":
        if found.st_uid not in (0, os.geteuid()):  # not even root: what a user left there was not meant for root
            return "it belongs to another user. Run this as its owner, or use a journal of your own."
        if found.st_mode & stat.S_IWOTH:
            return "it is writable by others. If you trust what is in it: chmod 600."
        if found.st_mode & stat.S_IWGRP:  # who is in the group, also in other containers, cannot be known
            return f"it is writable by its group. If you trust what is in it: chmod 600. {_KUBERNETES}"
    return None


_KUBERNETES = (
    "(Kubernetes makes it so whenever it mounts a volume for a pod with an fsGroup: set fsGroupChangePolicy: "
    "OnRootMismatch in the pod's securityContext.)"
)


def create_private(place: Path) -> None:
    """Create the file with mode 0600, empty. Nothing happens if there is one, or a link."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
    try:
        os.close(os.open(place, flags, 0o600))  # new, so there is no lock on it to lose
    except FileExistsError:
        return


def make_private(place: Path) -> None:
    """Take reading from others. Only for a file that `check_file` accepted."""
    if place.stat().st_mode & 0o077:
        place.chmod(0o600)
