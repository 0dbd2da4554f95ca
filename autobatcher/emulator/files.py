"""The /files calls: upload, list, retrieve, download, delete."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from .costs import DEFAULT_WINDOW, estimate_cost
from .dialects import OpenAIDialect
from .faults import LineFault
from .lines import Line, parse_line
from .multipart import Part, parse_form
from .paging import page
from .results import ResultFile
from .settings import Settings
from .shapes import wrapped
from .store import Blob, Store, StoreFullError
from .validation import check_doubleword
from .wire import RefusedError, Reply, Request, json_reply

BATCH_FILE_SECONDS = 30 * 86_400  # OpenAI keeps batch files for 30 days (openai SDK, types/file_create_params.py)
PURPOSES = frozenset({"assistants", "batch", "fine-tune", "vision", "user_data", "evals"})


@dataclass(slots=True)
class StoredFile:
    """A file as the API shows it. `created` and `expires` are times of the emulator's clock."""

    id: str
    filename: str
    purpose: str
    blob: Blob
    created: float
    expires: float = math.inf
    result: ResultFile | None = field(default=None, repr=False)
    """The growing file behind it, for the output and error files of a batch."""
    is_whole: Callable[[], bool] = field(default=lambda: True, repr=False)
    """Whether nothing more will be added."""


class Files:
    """Every file the emulator holds."""

    def __init__(
        self,
        settings: Settings,
        dialect: OpenAIDialect,
        store: Store,
        random: Random,
        wall: Callable[[float], float],
    ) -> None:
        self.uploads: int = 0
        self.refused_lines: Callable[[list[Line]], list[tuple[Line, LineFault]]] = lambda lines: []
        self._settings = settings
        self._dialect = dialect
        self._store = store
        self._random = random
        self._wall = wall
        self._files: dict[str, StoredFile] = {}

    @property
    def input_ids(self) -> tuple[str, ...]:
        purpose = self._dialect.purpose
        return tuple(file.id for file in self._files.values() if file.purpose == purpose and not file.blob.gone)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(file.id for file in self._files.values() if not file.blob.gone)

    def find(self, file_id: str, now: float) -> StoredFile:
        """Raises `RefusedError` (404) for a file that is unknown, deleted, evicted or expired."""
        self._dialect.check_id("file", file_id)
        file = self._files.get(file_id)
        if file is not None and now >= file.expires:
            file.blob.remove()
        if file is None or file.blob.gone:
            self._files.pop(file_id, None)
            raise RefusedError(404, f"No such File object: {file_id}", param="id")
        return file

    def add(self, filename: str, purpose: str, blob: Blob, created: float, expires: float = math.inf) -> StoredFile:
        file = StoredFile(self._dialect.new_file_id(self._random), filename, purpose, blob, created, expires)
        self._files[file.id] = file
        return file

    # The calls

    def create(self, request: Request, now: float) -> Reply:
        if not request.path.rstrip("/").endswith(self._dialect.upload_path):
            raise RefusedError(404, f"Invalid URL (POST {request.path})", code="unknown_url")
        form = parse_form(request.headers.get("content-type", ""), request.body)
        part, purpose = self._check_form(form)
        if purpose == self._dialect.purpose:
            self._check_batch_file(part)
        expires = now + _lifetime(form, is_for_batch=purpose == self._dialect.purpose)
        try:
            blob = self._store.new(part.content)
        except StoreFullError as error:
            raise RefusedError(413, f"The emulator's store is full: {error}.") from error
        self.uploads += 1
        file = self.add(part.filename or "upload.jsonl", purpose, blob, now, expires)
        shapes = self._dialect.shapes
        return json_reply(self._dialect.created_status, wrapped(self._as_dict(file), shapes.upload))

    def list(self, request: Request, now: float) -> Reply:
        wanted = request.query.get("purpose")
        held = [
            file
            for file in self._files.values()
            if not file.blob.gone and now < file.expires and wanted in (None, file.purpose)
        ]
        if request.query.get("order", "desc") == "desc":
            held.reverse()
        listed = page(held, request.query, self._as_dict, default=10_000, most=10_000)
        return json_reply(200, wrapped(listed, self._dialect.shapes.file_list))

    def retrieve(self, file_id: str, now: float) -> Reply:
        return json_reply(200, self._as_dict(self.find(file_id, now)))

    def delete(self, file_id: str, now: float) -> Reply:
        file = self.find(file_id, now)
        file.blob.remove()
        del self._files[file_id]
        return json_reply(200, {"id": file_id, "object": "file", "deleted": True})

    def estimate_cost(self, file_id: str, request: Request, now: float) -> Reply:
        """Doubleword's; OpenAI has none."""
        file = self.find(file_id, now)
        lines = check_doubleword(file.blob.read(), max_requests=self._settings.max_requests).lines
        window = request.query.get("completion_window", DEFAULT_WINDOW)
        return json_reply(200, estimate_cost(file.id, lines, self._settings.prices, window))

    def content(self, file_id: str, request: Request, now: float) -> Reply:
        file = self.find(file_id, now)
        if self._dialect.serves_partial_output and file.result is not None:
            return _partial_content(file, file.result, request)
        return Reply(200, {"content-type": "application/octet-stream"}, _stream(file.blob, 0, file.blob.size))

    # What they need

    def _check_form(self, form: dict[str, Part]) -> tuple[Part, str]:
        for missing in (name for name in self._dialect.upload_fields if name not in form):
            raise RefusedError(400, f"'{missing}' is a required property", param=missing)
        part, name = form["file"], form["purpose"].content.decode("utf-8", "replace")
        purpose = self._dialect.purpose
        allowed = {purpose} if self._dialect.validates_at_upload or purpose not in PURPOSES else PURPOSES
        if name not in allowed:
            raise RefusedError(400, f"'{name}' is not one of {sorted(allowed)} - 'purpose'", param="purpose")
        return part, name

    def _check_batch_file(self, part: Part) -> None:
        if len(part.content) > self._settings.max_file_bytes:
            status = 413 if self._dialect.validates_at_upload else 400
            raise RefusedError(status, "File is too large.", param="file")
        if self._dialect.validates_at_upload:
            checked = check_doubleword(part.content, max_requests=self._settings.max_requests)
            if checked.problems:
                raise RefusedError(400, checked.problems[0].message)
            for line, fault in self.refused_lines(checked.lines):
                raise RefusedError(400, f"Line {line.number}: {fault.message}")

    def _as_dict(self, file: StoredFile) -> dict[str, Any]:
        expires = None if math.isinf(file.expires) else int(self._wall(file.expires))
        content = {
            "id": file.id,
            "object": "file",
            "bytes": file.blob.size,
            "created_at": int(self._wall(file.created)),
            "expires_at": expires,
            "filename": file.filename,
            "purpose": file.purpose,
            "status": "processed",
            "status_details": None,
        }
        return self._dialect.shapes.file(content)


def _lifetime(form: dict[str, Part], *, is_for_batch: bool) -> float:
    seconds = form.get("expires_after[seconds]")
    if seconds is None:
        return BATCH_FILE_SECONDS if is_for_batch else math.inf
    try:
        return int(seconds.content)
    except ValueError:
        raise RefusedError(400, "'expires_after[seconds]' must be a whole number.", param="expires_after") from None


async def _stream(blob: Blob, start: int, stop: int) -> AsyncIterator[bytes]:
    for chunk in blob.chunks(start, stop):
        yield chunk


# Doubleword's reading of a file that still grows (control-layer, files.rs:1684-1870)


def _partial_content(file: StoredFile, result: ResultFile, request: Request) -> Reply:
    skip, limit = _number(request, "skip", 0), request.query.get("limit")
    search = request.query.get("search")
    whole = file.is_whole()
    if search is not None:
        return _search(file, result, search.lower(), whole)
    last = result.count
    if limit is not None:
        last = min(last, skip + min(101, max(1, _number(request, "limit", 1))))
    incomplete = not whole or last < result.count
    headers = _partial_headers(incomplete) | {"x-last-line": str(max(skip, last))}
    return Reply(200, headers, _stream(file.blob, result.position(skip), result.position(last)))


def _search(file: StoredFile, result: ResultFile, wanted: str, whole: bool) -> Reply:
    found = [line for line in _lines(file.blob, result) if wanted in _custom_id(line).lower()]
    return Reply(200, _partial_headers(not whole), b"".join(found))


def _lines(blob: Blob, result: ResultFile) -> Iterator[bytes]:
    for index in range(result.count):
        yield blob.read(result.position(index), result.position(index + 1))


def _custom_id(line: bytes) -> str:
    """The custom_id of a result line, without parsing the answer in it."""
    raw = parse_line(line)
    return raw.custom_id if raw is not None and isinstance(raw.custom_id, str) else ""


def _partial_headers(incomplete: bool) -> dict[str, str]:
    return {"content-type": "application/x-ndjson", "x-incomplete": "true" if incomplete else "false"}


def _number(request: Request, name: str, default: int) -> int:
    try:
        return max(0, int(request.query.get(name, default)))
    except ValueError:
        raise RefusedError(400, f"Failed to deserialize query string: {name}: invalid digit found in string") from None
