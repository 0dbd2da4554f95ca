"""How a provider words what OpenAI says: the names, wrappers and spellings of batches, files and refusals. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from .results import response_line
from .wire import RefusedError, Reply, json_reply, openai_error

Wrapper = tuple[str, Mapping[str, Any]]
"""The field that an object is put in, and what is beside it."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """The differences, as data. The defaults are OpenAI's.

    statuses:       other words for a batch's statuses.
    renamed, renamed_in_files: other names for the fields of batches, and of files.
    left_out:       the fields of batches that are missing.
    counts:         "object": `request_counts`; "late": null while validating; "flat": the three numbers beside the
                    status, and a plain number as `request_counts`; "percent": `progress` alone.
    time_format:    times as text, by `strftime`; None for unix seconds.
    errors_as_text: why a batch failed is one text.
    upload, file_list, creation: what these answers are wrapped in.
    batch_list:     "object", or "array" for the bare batches.
    refusals:       "openai"; "short": `error` has a code and a message only; "flat": code and message without `error`.
    failed_lines:   "body": the answer as it was; "beside": no body, the message beside the status.
    """

    statuses: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    renamed_in_files: Mapping[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    counts: Literal["object", "late", "flat", "percent"] = "object"
    time_format: str | None = None
    errors_as_text: bool = False
    upload: Wrapper | None = None
    file_list: Wrapper | None = None
    creation: Wrapper | None = None
    batch_list: Literal["object", "array"] = "object"
    refusals: Literal["openai", "short", "flat"] = "openai"
    failed_lines: Literal["body", "beside"] = "body"

    def batch(self, content: dict[str, Any]) -> dict[str, Any]:
        """A batch, given as OpenAI has it."""
        shaped = self._counted(content)
        if self.errors_as_text and content["errors"]:
            shaped["errors"] = "; ".join(problem["message"] for problem in content["errors"]["data"])
        shaped["status"] = self.statuses.get(content["status"], content["status"])
        return {self.renamed.get(name, name): value for name, value in shaped.items() if name not in self.left_out}

    def file(self, content: dict[str, Any]) -> dict[str, Any]:
        """A file, given as OpenAI has it."""
        return {self.renamed_in_files.get(name, name): value for name, value in content.items()}

    def batches(self, page: dict[str, Any]) -> Any:
        """A page of the list of batches."""
        return page["data"] if self.batch_list == "array" else page

    def refusal(self, refused: RefusedError) -> Reply:
        """The answer to a request that is refused."""
        body = openai_error(refused.status, refused.message, param=refused.param, code=refused.code)
        short = {"code": refused.code or str(refused.status), "message": refused.message}
        shaped = {"openai": body, "short": {"error": short}, "flat": {**short, "data": None}}
        return json_reply(refused.status, shaped[self.refusals])

    def failed_line(self, line_id: str, custom_id: str | None, request_id: str, status: int, body: bytes) -> bytes:
        """The line of a request that was answered with an error."""
        if self.failed_lines == "body":
            return response_line(line_id, custom_id, request_id, status, body)
        response = {"status_code": status, "request_id": request_id, "message": _message(body)}
        return msgspec.json.encode({"id": line_id, "custom_id": custom_id, "response": response, "error": None})

    def _counted(self, content: dict[str, Any]) -> dict[str, Any]:
        counts = content.get("request_counts")
        if counts is None:
            return dict(content)
        total, done = counts["total"], counts["completed"] + counts["failed"]
        worded: dict[str, dict[str, Any]] = {
            "object": {},
            "late": {"request_counts": None} if content["status"] == "validating" else {},
            "flat": {**counts, "request_counts": total},
            "percent": {"request_counts": None, "progress": 100 * done // max(1, total)},
        }
        return {**content, **worded[self.counts]}


OPENAI_SHAPES = Shapes()


def wrapped(content: Any, wrapper: Wrapper | None) -> Any:
    """`content`, or what it is put in."""
    return content if wrapper is None else {**wrapper[1], wrapper[0]: content}


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return body.decode("utf-8", "replace")
