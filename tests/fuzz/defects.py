"""Defects that nobody catches: what is logged, and what arrives at Python's last hooks."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from .findings import place_of

Report = Callable[[str, str, str], None]

WORDS = ("defect", "a bug in", "please report")
"""What autobatcher says of its own faults."""


class DefectHandler(logging.Handler):
    """Reports records of defects, and of errors that nobody caught. Counts all others from WARNING."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self._report = report
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if any(word in message for word in WORDS) or (record.levelno >= logging.ERROR and error is not None):
            where = message[:80] if error is None else place_of(error)
            shown = "" if error is None else "".join(traceback.format_exception(error))
            self._report("defect", where, f"{record.name}: {message}\n{shown}")
        else:
            self.counts[f"{record.name} {record.levelname}: {record.msg}"[:100]] += 1


@contextmanager
def reported_defects(report: Report) -> Iterator[Counter[str]]:
    """Report defects while the block runs. Gives the counts of other warnings in the logs."""
    handler = DefectHandler(report)
    root = logging.getLogger()
    root.addHandler(handler)

    def unraisable(args: Any) -> None:
        _report_error(report, "unraisable", args.exc_value, str(args.object))

    def in_thread(args: Any) -> None:
        _report_error(report, "thread", args.exc_value, str(args.thread))

    def warned(message: Warning | str, category: type[Warning], filename: str, *more: Any, **options: Any) -> None:
        report("warning", f"{category.__name__}: {str(message)[:60]}", f"{filename}: {message}")

    try:
        with (
            patch.object(sys, "unraisablehook", unraisable),
            patch.object(threading, "excepthook", in_thread),
            warnings.catch_warnings(),
        ):
            for category in (ResourceWarning, RuntimeWarning):
                warnings.simplefilter("always", category)
            warnings.showwarning = warned
            yield handler.counts
    finally:
        root.removeHandler(handler)


def _report_error(report: Report, kind: str, error: BaseException | None, what: str) -> None:
    if error is not None:
        report(kind, place_of(error), f"{what}\n{''.join(traceback.format_exception(error))}")
