"""A receipt in files: the one that was asked for, and the summary of a GitHub job."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ..money.receipt import Receipt
from ..money.receipt_text import markdown
from .output import print_notice

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the file of a GitHub job's summary: Markdown, to which each step adds."""


RECEIPT = "the receipt"


def keep_receipt(receipt: Receipt, path: Path | None, environment: Mapping[str, str], *, command: str) -> None:
    """Write a receipt to `path`, if there is one, and to the summary of the job that this is part of, if it is.

    A file that cannot be written is told of: what was paid for is done, and the exit code must not change.

    Args:
        command: that says so.
    """
    if path is not None:
        write_or_tell(command, RECEIPT, path, lambda: path.write_text(file_text(receipt, path), encoding="utf-8"))
    if summary := environment.get(SUMMARY):
        write_or_tell(command, RECEIPT, summary, lambda: _append(summary, f"\n{markdown(receipt)}"))


def file_text(receipt: Receipt, path: Path) -> str:
    """Markdown, if the file's name ends in .md; else JSON."""
    if path.suffix.lower() == ".md":
        return markdown(receipt)
    return json.dumps(receipt.as_dict(), indent=2) + "\n"


def _append(path: str, text: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(text)


def write_or_tell(command: str, what: str, path: str | os.PathLike[str], write: Callable[[], object]) -> None:
    """Write something at the end of a command. A file that cannot be written is told of, and changes no exit code."""
    try:
        write()
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        print_notice(f"autobatcher {command}: {what} is not in {os.fspath(path)}, which cannot be written: {reason}")
