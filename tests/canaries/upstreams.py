"""Upstreams that quote what they got, in every failure of the emulator and beside every answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from autobatcher.emulator import BatchFault, FaultPlan, HttpFault, LineFault
from tests.harness import HTTP, Send

REFUSED = (
    ("files.create", 401),
    ("files.create", 500),
    ("batches.create", 400),
    ("batches.create", 502),
    ("batches.retrieve", 403),
    ("batches.list", 401),
    ("files.content", 403),
    ("files.delete", 403),
    ("models", 401),
    ("models", 200),
)
"""Operations, and the statuses with which they quote. The loss of a created batch needs the list, too."""


def failures(echo: str) -> Iterator[tuple[str, FaultPlan]]:
    """Each failure of the emulator that has words of its own, by name."""
    said = f'{{"error": {{"message": "{echo}", "code": "{echo}", "type": "{echo}", "param": "{echo}"}}}}'
    for operation, status in REFUSED:
        for body in (said, f"<html>{echo}</html>"):
            fault = HttpFault(operation=operation, status=status, body=body)
            lost = HttpFault(operation="batches.create", lose_answer=True)
            plan = FaultPlan((fault, lost) if operation == "batches.list" else (fault,))
            yield f"{operation} answers {status} with {body[:6]}", plan
    yield "no answer", FaultPlan((HttpFault(disconnect=True),))
    yield "a failed batch", FaultPlan((BatchFault(ends="failed", error_message=echo, error_code=echo),))
    lines = (1, 2)
    yield "bad lines", FaultPlan((BatchFault(ends="failed", error_message=echo, error_code=echo, error_lines=lines),))
    yield "a line with a status", FaultPlan((LineFault(kind="fail", status=400, body=said),))
    yield "a line with a retryable status", FaultPlan((LineFault(kind="fail", status=503, body=said),))
    yield "a line with a code", FaultPlan((LineFault(kind="fail", code=echo, message=echo),))
    yield "an answer", FaultPlan((LineFault(kind="canned", body=f'{{"id": "{echo}", "{echo}": "{echo}"}}'),))
    yield "a line that is no JSON", FaultPlan((LineFault(kind="canned", body=f'{{"id": "{echo}", }}'),))


class Quoting:
    """Stands between the engine and the emulator: quotes in the ids of requests, and with `ids` in all others."""

    def __init__(self, echo: str, *, ids: bool = False) -> None:
        self._echo = echo
        self._pattern = re.compile(
            rb'"(id|input_file_id|output_file_id|request_id)": ?"' if ids else rb'"(request_id)": ?"'
        )

    async def __call__(self, request: Any, send: Send) -> Any:
        response = await send(request)
        content = await response.aread()
        quoted = self._pattern.sub(lambda found: found[0] + self._echo.encode(), content)
        kept = {name: value for name, value in response.headers.items() if name != "content-length"}
        return HTTP.Response(response.status_code, headers={**kept, "x-request-id": self._echo}, content=quoted)
