"""The results of a batch's lines, faults applied, written to its two files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from .answers import Answer
from .bill import Charges
from .dialects import OpenAIDialect
from .faults import BatchFault, LineFault
from .lines import Line
from .results import ResultFile, error_line, response_line
from .store import Store
from .usage import usage_of
from .wire import openai_error

_MESSAGES = {
    "expired": "This request could not be executed before the completion window expired.",
    "cancelled": "This request was not executed because the batch was cancelled.",
}


class Outcomes:
    """The outcome of each line of a batch. Every line is settled at most once."""

    def __init__(self, fate: BatchFault, dialect: OpenAIDialect, store: Store, charges: Charges) -> None:
        line_end = (b"\r\n" if fate.crlf else b"\n") * (2 if fate.blank_lines else 1)
        self.output: ResultFile = ResultFile(store, line_end)
        self.errors: ResultFile = ResultFile(store, line_end)
        self.completed: int = 0
        self.failed: int = 0
        self.billed: dict[int, float] = {}
        """When each line was executed and answered with success, delivered or not, by its number."""
        self.charges: Charges = charges
        self.faults: dict[int, LineFault] = {}
        self._dialect = dialect
        self._cut_last_line = fate.cut_last_line

    def settle(self, line: Line, answer: Callable[[], Answer], at: float) -> None:
        """Executes a line at the clock's time `at`, unless it has a fault, and writes its result."""
        fault = self.faults.get(line.number)
        if self.executes(line):
            executed = answer()
            if fault is not None and fault.kind == "canned":
                executed = Answer(200, as_json((fault.body or "").encode()))
            if executed.status < 400:
                self._bill(line, executed, at)
            self._write(line, executed if fault is None else _distorted(executed, fault), fault)
        elif fault is not None and fault.kind == "fail":
            self._fail(line, fault)
        else:
            self.completed += 1

    def executes(self, line: Line) -> bool:
        """Whether `settle()` will ask for the line's answer."""
        fault = self.faults.get(line.number)
        return fault is None or fault.kind not in ("fail", "drop") or (fault.kind == "drop" and fault.billed)

    def list_unfinished(self, lines: Iterable[Line], status: str) -> None:
        """Names lines that will not be worked on in the error file."""
        for line in lines:
            self.errors.add(error_line(self._line_id(line), line.custom_id, f"batch_{status}", _MESSAGES[status]))

    def flush(self) -> None:
        """Raises `StoreFullError` when the lines do not fit."""
        self.output.flush()
        self.errors.flush()

    def finish(self) -> None:
        """Nothing comes after this. Raises `StoreFullError` when the lines do not fit."""
        try:
            self.flush()
        finally:
            self.output.finish(cut_last_line=self._cut_last_line)
            self.errors.finish(cut_last_line=self._cut_last_line)

    def _bill(self, line: Line, executed: Answer, at: float) -> None:
        self.billed[line.number] = at
        self.charges.add("batch", self._dialect.openai_endpoint(line.url), line.model, usage_of(executed.body))

    def _fail(self, line: Line, fault: LineFault) -> None:
        self.failed += 1
        file = self.output if fault.in_output_file else self.errors
        line_id = self._line_id(line)
        if fault.code is not None:
            file.add(error_line(line_id, line.custom_id, fault.code, fault.message))
            return
        write = response_line if fault.in_output_file else self._dialect.failed_line
        file.add(write(line_id, line.custom_id, _request_id(line_id), fault.status, _failure_body(fault)))

    def _write(self, line: Line, shown: Answer, fault: LineFault | None) -> None:
        """Writes the result of a line that was executed."""
        kind = None if fault is None else fault.kind
        if fault is not None and kind in ("drop", "status"):
            self.completed += 1
            if kind == "status":
                self._tell_status(line, shown, fault.status)
            return
        self._record(line, shown, None if kind == "null_custom_id" else line.custom_id)
        if kind in ("duplicate", "unknown_custom_id"):
            self._repeat(line, shown, line.custom_id if kind == "duplicate" else f"unknown-{line.number}")

    def _tell_status(self, line: Line, shown: Answer, status: int) -> None:
        line_id = self._line_id(line)
        self.output.add(response_line(line_id, line.custom_id, _request_id(line_id), status, shown.body))

    def _record(self, line: Line, shown: Answer, custom_id: str | None) -> None:
        line_id = self._line_id(line)
        if shown.status < 400:
            self.completed += 1
            write, file = self._dialect.success_line, self.output
        else:
            self.failed += 1
            write, file = self._dialect.failed_line, self.errors
        file.add(write(line_id, custom_id, _request_id(line_id), shown.status, shown.body))

    def _repeat(self, line: Line, shown: Answer, custom_id: str) -> None:
        file = self.output if shown.status < 400 else self.errors
        file.add(response_line(f"{self._line_id(line)}x", custom_id, None, shown.status, shown.body))

    def _line_id(self, line: Line) -> str:
        return self._dialect.line_id(self.charges.batch_id, line.number)


def _request_id(line_id: str) -> str:
    return "req_" + line_id.removeprefix("batch_req_")


def _distorted(answer: Answer, fault: LineFault) -> Answer:
    """The answer that a line with a fault shows."""
    match fault.kind:
        case "text_body":
            return Answer(answer.status, msgspec.json.encode(answer.body.decode()))
        case "usage" if answer.status < 400:
            return Answer(answer.status, _with_usage(answer.body, fault.usage))
        case _:
            return answer


def _with_usage(body: bytes, usage: Any) -> bytes:
    """The answer with another `usage`, or without one. What is no object, from a forwarded server, stays as it is."""
    try:
        content = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return body
    content.pop("usage", None)
    return msgspec.json.encode(content if usage is msgspec.UNSET else {**content, "usage": usage})


def _failure_body(fault: LineFault) -> bytes:
    if fault.body is None:
        return msgspec.json.encode(openai_error(fault.status, fault.message))
    return as_json(fault.body.encode())


def as_json(body: bytes) -> bytes:
    """The body itself if it is JSON, else a JSON string of it."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.encode(body.decode("utf-8", "replace"))
    return body
