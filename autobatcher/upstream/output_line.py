"""The lines of output and error files. Bodies are cut out as they were written, also where a strict parser refuses
them. Pure."""

from __future__ import annotations

import io
import re
from typing import Any

import msgspec

from ..redaction import Redactor
from ..turns import Steps
from . import bounded_json
from .reasons import codes_in, reason_in, well_formed
from .tolerant_json import members, value_of

_NULL = b"null"


class OutputLine(msgspec.Struct, frozen=True, gc=False):
    """The result of one request, from an output or error file.

    Either `status_code` and `body` are set (the upstream responded, whatever the status), or `error` is (it did not).

    Attributes:
        raw: the line itself, or its beginning, if no caller can be told what it says.
    """

    custom_id: str
    status_code: int | None = None
    body: bytes = b""
    request_id: str | None = None
    error_code: str | None = None
    error: str | None = None
    raw: bytes = b""

    def __repr__(self) -> str:
        """The body may quote a prompt."""
        return f"OutputLine({self.custom_id!r}, {self.status_code}, {len(self.body)} bytes, {self.error_code!r})"


INVALID_STATUS = "invalid_status"
"""The error code of an answer whose status is none. It may have been paid for."""

TOO_LARGE = "answer_too_large"
"""The error code of a line that is longer than `max_answer_bytes`. It may have been paid for."""

MAX_RAW_BYTES = 1_000_000
"""How much of a line its caller's error has."""

MAX_ERROR_CHARACTERS = 10_000
MAX_REQUEST_ID_CHARACTERS = 200
"""It becomes a header."""


class _Response(msgspec.Struct, gc=False):
    status_code: int
    body: msgspec.Raw
    request_id: str | None = None


class _Line(msgspec.Struct, gc=False):
    custom_id: str
    response: _Response


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_lines = msgspec.json.Decoder(_Line).decode_lines


def parse_output_line(line: bytes) -> OutputLine | None:
    """Parse one line of an output or error file; None if it is not a result line of any known kind. Never raises.

    Accepts OpenAI's lines and the deviations of other servers: a body as JSON text (llama-stack), a failure's status
    and body as JSON text inside `error.message` (Doubleword), `error` as a plain string and a null body (vLLM), the
    reason beside the status instead of in a body (Voyage), and whatever JSON only the standard library reads.
    """
    return parse_plain_line(line) or _parse_leniently(line)


def parse_plain_line(line: bytes) -> OutputLine | None:
    """Parse one line as OpenAI writes it, quickly; None for any other."""
    try:
        return _plain(_decode_line(line))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def parse_plain_block(block: bytes) -> list[OutputLine] | None:
    """Parse whole lines at once, if all are as OpenAI writes them. None if one of them is not, or is blank."""
    try:
        lines = _decode_lines(block)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if len(lines) != len(io.BytesIO(block).readlines()):  # `count` would take five times as long
        return None
    results: list[OutputLine] = []
    for line in lines:
        response = line.response
        body, request_id = bytes(response.body), response.request_id
        is_usual = response.status_code == 200 and body[0] == _BRACE
        if is_usual and (request_id is None or len(request_id) <= MAX_REQUEST_ID_CHARACTERS):
            results.append(OutputLine(line.custom_id, 200, body, request_id))  # a call of `_plain` takes as long again
        elif (plain := _plain(line)) is not None:
            results.append(plain)
        else:
            return None
    return results


_BRACE = ord("{")


def _plain(line: _Line) -> OutputLine | None:
    response = line.response
    body, status, request_id = bytes(response.body), response.status_code, response.request_id
    if body[:1] != b"{" or (status != 200 and not _is_status(status)):
        return None
    is_usable = request_id is None or len(request_id) <= MAX_REQUEST_ID_CHARACTERS
    return OutputLine(line.custom_id, status, body, request_id if is_usable else None)


def overlong_line(beginning: bytes, max_bytes: int) -> OutputLine | None:
    """The result of a line that was not read to its end; None if its beginning has no custom_id."""
    custom_id = custom_id_in(beginning)
    if custom_id is None:
        return None
    reason = f"its line is longer than the {max_bytes:,} bytes of max_answer_bytes"
    return OutputLine(custom_id, error_code=TOO_LARGE, error=reason, raw=beginning)


def redacting(line: bytes, redactor: Redactor) -> Steps[bytes]:
    """Mask secrets in a line: those that cannot be words in a good one, all in any other."""
    return redactor.redacting_answer(line) if _IS_GOOD.search(line) else redactor.redacting(line)


_IS_GOOD = re.compile(rb'"status_code"\s*:\s*"?2\d\d\b')


def custom_id_in(line: bytes) -> str | None:
    """Return the custom_id of a line that cannot be parsed; None if it has none."""
    found = _CUSTOM_ID.search(line, 0, MAX_RAW_BYTES)
    return None if found is None else found[1].decode("utf-8", "replace")


_CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*"([^"\\]{1,512})"')


def _parse_leniently(line: bytes) -> OutputLine | None:
    """Parse a line with the standard library. What cannot be parsed in it counts as absent."""
    try:
        fields = members(line)
        custom_id = value_of(fields["custom_id"])
    except (ValueError, KeyError):
        return None
    if not isinstance(custom_id, str):
        return None
    custom_id = well_formed(custom_id)
    response = _members_or_none(fields.get("response", _NULL))
    told = _status_told(response)
    status = _status_of(told)
    body = _body_in(response)
    request_id = _request_id(_text_in(response, "request_id"))
    raw = b"" if told is None or status is not None else line[:MAX_RAW_BYTES]
    if body is not None and not (status is None and _is_error(body)):
        if raw:
            return OutputLine(custom_id, error_code=INVALID_STATUS, error="its status is no HTTP status", raw=raw)
        return OutputLine(custom_id, 200 if status is None else status, body, request_id)
    return msgspec.structs.replace(_failure(custom_id, status, request_id, fields, response, body), raw=raw)


def _members_or_none(written: bytes) -> dict[str, bytes]:
    try:
        return members(written)
    except ValueError:
        return {}


def _value_or_none(written: bytes) -> Any:
    try:
        return value_of(written)
    except ValueError:
        return None


def _text_in(fields: dict[str, bytes], name: str) -> str | None:
    value = _value_or_none(fields.get(name, _NULL))
    return well_formed(value) if isinstance(value, str) else None


def _request_id(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_REQUEST_ID_CHARACTERS else None


def _is_status(status: float) -> bool:
    """Whether it is the HTTP status of an answer. This is the only place that says so.

    Servers have sent 0 for a call that got no answer. 1xx is none yet, 3xx leads elsewhere, and 204 and 205 have no
    body: a response with one breaks the connection of whoever is given it.
    """
    return (200 <= status <= 299 and status not in (204, 205)) or 400 <= status <= 599


def _status_told(response: dict[str, bytes]) -> Any:
    """What a response says of its status; None if nothing."""
    told, beside = (_value_or_none(response.get(name, _NULL)) for name in ("status_code", "status"))
    if told is None or _status_of(beside) is not None:
        return beside if isinstance(beside, int | float) or _status_of(beside) is not None else None
    return told


def _status_of(value: Any) -> int | None:
    """The status that a server wrote as a number or as text; None if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) == 3:
        value = int(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not _is_status(value):
        return None
    return int(value) if value == int(value) else None


def _body_in(response: dict[str, bytes]) -> bytes | None:
    """Return the body as it was written; None if there is none. A body that was sent as JSON text is unwrapped."""
    body = response.get("body", _NULL)
    if body == _NULL:
        return None
    return unwrapped(body) if body.startswith(b'"') else body


def unwrapped(body: bytes) -> bytes:
    """Return the object that was sent as JSON text; the text itself if it is none."""
    inner = _value_or_none(body)
    if not isinstance(inner, str):
        return body
    content = inner.encode("utf-8", "surrogatepass")
    is_object = _members_or_none(content) if len(content) <= MAX_RAW_BYTES else content.lstrip()[:1] == b"{"
    return content if is_object else body


def _is_error(body: bytes) -> bool:
    """Whether a body without a status is an error object and no answer."""
    names = _members_or_none(body)
    return "error" in names and names["error"] != _NULL and not names.keys() & {"choices", "data", "output", "results"}


def _failure(
    custom_id: str,
    status: int | None,
    request_id: str | None,
    fields: dict[str, bytes],
    response: dict[str, bytes],
    body: bytes | None,
) -> OutputLine:
    """The result of a line without an answer. The reason may be in `error`, in the body, or beside either."""
    error = _value_or_none(fields.get("error", _NULL))
    beside = _beside(response, fields)
    message = reason_in(error) or reason_in(_value_or_none(body or _NULL)) or reason_in(beside)
    if status is None and (nested := _nested_failure(message)) is not None:
        return OutputLine(custom_id, *nested)
    codes = codes_in(error) or codes_in(_value_or_none(body or _NULL)) or codes_in(beside)
    code = next(iter(sorted(codes)), None) if not isinstance(error, dict) else _code_of(error)
    code = code or _nested_type(message)
    if status is not None and status >= 400:
        reason = {"message": message or "no reason given", "code": code, "type": None, "param": None}
        return OutputLine(custom_id, status, msgspec.json.encode({"error": reason}), request_id)
    error = (message or code or "no reason given")[:MAX_ERROR_CHARACTERS]
    return OutputLine(custom_id, error_code=code, error=error)


def _beside(response: dict[str, bytes], fields: dict[str, bytes]) -> dict[str, Any]:
    """What stands beside the status, or beside the response."""
    written = {**fields, "error": _NULL, **response}
    return {name: _value_or_none(value) for name, value in written.items() if name not in _NO_REASONS}


_NO_REASONS = frozenset({"id", "custom_id", "response", "body", "status_code", "status", "request_id"})


def _code_of(error: dict[str, Any]) -> str | None:
    code = error.get("code")
    return None if code is None else well_formed(str(code))


def _nested_failure(message: str | None) -> tuple[int, bytes] | None:
    """Extract the status and body that Doubleword sends as JSON text (fusillade, `FailureReason`)."""
    try:
        details = bounded_json.decode((message or "").encode())["details"]
        status, body = details["status"], details["body"]
    except (msgspec.MsgspecError, UnicodeError, RecursionError, KeyError, TypeError, IndexError):
        return None
    if not isinstance(status, int) or not 400 <= status <= 599:
        return None
    return status, body.encode("utf-8", "replace") if isinstance(body, str) else msgspec.json.encode(body)


def _nested_type(message: str | None) -> str | None:
    """Extract Doubleword's name for a failure without HTTP status, such as "NetworkError"."""
    try:
        kind = bounded_json.decode((message or "").encode())["type"]
    except (msgspec.MsgspecError, UnicodeError, RecursionError, KeyError, TypeError, IndexError):
        return None
    return kind if isinstance(kind, str) else None
