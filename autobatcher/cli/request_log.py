"""--request-log: the file that has a line for each call of the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .flags import UsageError


@contextmanager
def request_log_at(path: Path | None) -> Iterator[Any]:
    """Write the log while the block runs; None without a path. Raises `UsageError` for an unusable one."""
    with ExitStack() as stack:
        yield None if path is None else _begun(path, stack)


def _begun(path: Path, stack: ExitStack) -> Any:
    from ..server.request_log import request_log  # here, because it is slow to import

    if str(path) == "-":
        raise UsageError("--request-log needs the name of a file: stdout has the events of `serve`.")
    try:
        return stack.enter_context(request_log(path))
    except OSError as error:
        raise UsageError(f"--request-log: cannot write {path}: {error.strerror or error}.") from error
