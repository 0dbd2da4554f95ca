"""The /batches calls: create, list, retrieve, cancel, delete."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import takewhile
from random import Random
from typing import Any

from .batch import Batch, Order, Surroundings
from .costs import analytics
from .faults import FaultsAtWork
from .files import Files, StoredFile
from .paging import page
from .shapes import wrapped
from .usage import as_batch_usage
from .validation import Checked, Problem, check_doubleword, check_openai
from .wire import RefusedError, Reply, Request, decode_object, json_reply

# Bytes of ended batches kept for statistics(); beyond that the oldest lines are forgotten.
REMEMBERED_BYTES = 256 * 1024 * 1024
TEXT_TIME = "%Y-%m-%d %H:%M:%S"  # as Voyage writes them
MAX_METADATA_PAIRS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512
_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


class Batches:
    """Every batch of the emulator. `batch_class` makes them; `on_created` is called with each, and `on_ended`."""

    def __init__(self, around: Surroundings, files: Files, faults: FaultsAtWork, random: Random) -> None:
        self.batch_class: type[Batch] = Batch
        self.on_created: Callable[[Batch], None] = lambda batch: None
        self.on_ended: Callable[[Batch], None] = lambda batch: None
        self.all: dict[str, Batch] = {}
        self._around = around
        self._files = files
        self._faults = faults
        self._random = random
        self._running: dict[str, Batch] = {}
        self._remembered_bytes = 0
        self._ended: list[Batch] = []
        self._result_files: dict[str, tuple[StoredFile | None, StoredFile | None]] = {}
        self._deleted: set[str] = set()
        files.refused_lines = lambda lines: faults.refused_lines(len(self.all) + 1, lines)

    def advance(self, now: float) -> None:
        """Advances every batch to `now`."""
        for batch in list(self._running.values()):
            self.bring_up_to_date(batch, now)

    def bring_up_to_date(self, batch: Batch, now: float) -> None:
        batch.advance(now)
        if batch.is_terminal and batch.id in self._running:
            del self._running[batch.id]
            self._publish(batch)
            self._remember(batch)
            self.on_ended(batch)

    @property
    def running_ids(self) -> tuple[str, ...]:
        return tuple(self._running)

    # The calls

    def create(self, request: Request, now: float) -> Reply:
        dialect = self._around.dialect
        number = len(self.all) + 1
        self._check_rate(now)
        order = self._read_order(decode_object(request.body), number, now)
        batch_id = dialect.new_batch_id(self._random)
        batch = self.batch_class(batch_id, number, order, now, self._around)
        self.all[batch.id] = self._running[batch.id] = batch
        if dialect.file_ids_from_the_start:
            self._result_files[batch.id] = (self._show(batch, "output"), self._show(batch, "error"))
        reply = json_reply(dialect.created_status, wrapped(self._as_dict(batch), dialect.shapes.creation))
        self.on_created(batch)
        return reply

    def list(self, request: Request, now: float) -> Reply:
        self.advance(now)
        newest_first = [batch for batch in reversed(self.all.values()) if batch.id not in self._deleted]
        as_dict = self._with_analytics if self._wants_analytics(request) else self._as_dict
        listed = page(newest_first, request.query, as_dict, default=20, most=100)
        return json_reply(200, self._around.dialect.shapes.batches(listed))

    def retrieve(self, batch_id: str, now: float) -> Reply:
        batch = self._find(batch_id)
        if self._around.settings.max_enqueued_requests is not None:
            self.advance(now)  # others may have made room
        self.bring_up_to_date(batch, now)
        return json_reply(200, self._as_dict(batch))

    def analytics(self, batch_id: str, now: float) -> Reply:
        """Doubleword's; OpenAI has none."""
        batch = self._find(batch_id)
        self.bring_up_to_date(batch, now)
        return json_reply(200, analytics(batch))

    def cancel(self, batch_id: str, now: float) -> Reply:
        batch = self._find(batch_id)
        self.bring_up_to_date(batch, now)
        batch.cancel(now)
        return json_reply(200, self._as_dict(batch))

    def delete(self, batch_id: str, now: float) -> Reply:
        """Doubleword's; OpenAI has none."""
        self._find(batch_id)
        self._forget_batch(self.all[batch_id], now)
        return Reply(204)

    def input_file_deleted(self, file_id: str, now: float) -> None:
        """Doubleword deletes the batches of an input file with it (files.rs)."""
        for batch in self.all.values():
            if batch.order.input_file_id == file_id and batch.id not in self._deleted:
                self._forget_batch(batch, now)

    # What they need

    def _find(self, batch_id: str) -> Batch:
        self._around.dialect.check_id("batch", batch_id)
        batch = self.all.get(batch_id)
        if batch is None or batch_id in self._deleted:
            raise RefusedError(404, f"No batch found with id '{batch_id}'.", param="id")
        return batch

    def _forget_batch(self, batch: Batch, now: float) -> None:
        self.bring_up_to_date(batch, now)
        if not batch.is_terminal:
            batch.cancel(now)
        self._deleted.add(batch.id)

    def _read_order(self, body: dict[str, Any], number: int, now: float) -> Order:
        for name in ("input_file_id", "endpoint", "completion_window"):
            if not isinstance(body.get(name), str):
                raise RefusedError(400, f"Missing required parameter: '{name}'.", param=name)
        endpoint, window = body["endpoint"], body["completion_window"]
        self._check_target(endpoint, window)
        metadata = _check_metadata(body.get("metadata"))
        source = self._files.find(body["input_file_id"], now)
        dialect = self._around.dialect
        if source.purpose != dialect.purpose:
            message = f"The input file must have the purpose '{dialect.purpose}'."
            raise RefusedError(400, message, param="input_file_id")
        content = source.blob.read()
        if dialect.no_room_status is not None:
            for problem in self._room(content.count(b"\n")):
                raise RefusedError(dialect.no_room_status, problem.message, code=problem.code)
        return Order(
            endpoint=endpoint,
            completion_window=window,
            metadata=dialect.metadata(metadata),
            input_file_id=source.id,
            check=lambda: self._check(content, endpoint, number),
            find_faults=lambda lines: self._faults.for_lines(number, lines),
            hit=self._faults.for_batch(window),
        )

    def _check_target(self, endpoint: str, window: str) -> None:
        allowed = self._around.settings.completion_windows
        dialect = self._around.dialect
        if dialect.openai_endpoint(endpoint) not in dialect.endpoints:
            raise RefusedError(400, f"Invalid endpoint: {endpoint!r} has no batches.", param="endpoint")
        if allowed and window not in allowed:
            message = f"Invalid value: {window!r}. Supported values are: {', '.join(allowed)}."
            raise RefusedError(400, message, param="completion_window")

    def _check_rate(self, now: float) -> None:
        most = self._around.settings.max_batches_per_hour
        if most is None:
            return
        lately = takewhile(lambda batch: batch.reached["created"] > now - 3600, reversed(self.all.values()))
        if sum(1 for _ in lately) >= most:
            raise RefusedError(429, f"At most {most} batches may be created in an hour.", code="rate_limit_exceeded")

    def _room(self, lines: int) -> tuple[Problem, ...]:
        """The error if `lines` more lines do not fit; else None."""
        most = self._around.settings.max_enqueued_requests
        if most is None or sum(batch.total for batch in self._running.values()) + lines <= most:
            return ()
        message = f"Enqueued token limit reached in organization org-emulator. Limit: {most} enqueued requests."
        return (Problem("token_limit_exceeded", message),)

    def _check(self, content: bytes, endpoint: str, number: int) -> Checked:
        settings = self._around.settings
        if self._around.dialect.validates_at_upload:
            return check_doubleword(content, max_requests=settings.max_requests)
        checked = check_openai(
            content,
            endpoint=endpoint,
            max_requests=settings.max_requests,
            max_embedding_inputs=settings.max_embedding_inputs,
        )
        refused = self._faults.refused_lines(number, checked.lines)
        checked.problems.extend(Problem("invalid_request", fault.message, line.number) for line, fault in refused)
        return checked if checked.problems else Checked(checked.lines, [*self._room(len(checked.lines))])

    def _show(self, batch: Batch, kind: str) -> StoredFile:
        """Adds the output or error file of a batch to the files."""
        result = batch.outcomes.output if kind == "output" else batch.outcomes.errors
        now = max(batch.reached.values())
        file = self._files.add(f"{batch.id}_{kind}.jsonl", "batch_output", result.blob, now)
        file.result = result
        file.is_whole = lambda: batch.is_terminal
        return file

    def _publish(self, batch: Batch) -> None:
        """Gives ids to the files of a batch that has ended, if they have lines."""
        if batch.id not in self._result_files:
            output = self._show(batch, "output") if batch.outcomes.output.count else None
            error = self._show(batch, "error") if batch.outcomes.errors.count else None
            self._result_files[batch.id] = (output, error)

    def _remember(self, batch: Batch) -> None:
        self._ended.append(batch)
        self._remembered_bytes += sum(len(line.body) for line in batch.lines)
        while self._remembered_bytes > REMEMBERED_BYTES and len(self._ended) > 1:
            oldest = self._ended.pop(0)
            self._remembered_bytes -= sum(len(line.body) for line in oldest.lines)
            oldest.forget_lines()

    def _wants_analytics(self, request: Request) -> bool:
        return self._around.dialect.tells_costs and "analytics" in request.query.get("include", "").split(",")

    def _with_analytics(self, batch: Batch) -> dict[str, Any]:
        return self._as_dict(batch) | {"analytics": analytics(batch)}

    def _as_dict(self, batch: Batch) -> dict[str, Any]:
        fate, dialect = batch.fate, self._around.dialect
        output, error = self._result_files.get(batch.id, (None, None))
        absent = "" if fate.empty_file_ids else None
        content: dict[str, Any] = {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.order.endpoint,
            "errors": _errors(batch),
            "input_file_id": batch.order.input_file_id,
            "completion_window": batch.order.completion_window,
            "status": batch.status,
            "output_file_id": output.id if output else absent,
            "error_file_id": error.id if error else absent,
            **self._times(batch),
            "metadata": batch.order.metadata,
        }
        if dialect.tells_model_and_usage:
            content["model"] = batch.models[0] if batch.models else None
            content["usage"] = as_batch_usage(batch.outcomes.charges.usage) if batch.is_terminal else None
        if not fate.hide_counts:
            content["request_counts"] = {
                "total": batch.total,
                "completed": batch.outcomes.completed,
                "failed": batch.outcomes.failed,
            }
        shaped = dialect.shapes.batch(content)
        return shaped | {"status": fate.status_text.get(batch.status, shaped["status"])} | fate.members

    def _times(self, batch: Batch) -> dict[str, Any]:
        reached = {"created_at": batch.reached["created"], "expires_at": batch.expires}
        reached |= {f"{name}_at": batch.reached.get(name) for name in _TIMES}
        if not self._around.dialect.expires and not batch.is_terminal:
            reached["expired_at"] = batch.overdue
        return {name: self._time(batch, moment) for name, moment in reached.items()}

    def _time(self, batch: Batch, moment: float | None) -> int | str | None:
        if moment is None:
            return None
        seconds = int(self._around.wall(moment))
        as_text = TEXT_TIME if batch.fate.text_timestamps else self._around.dialect.shapes.time_format
        return seconds if as_text is None else datetime.fromtimestamp(seconds, UTC).strftime(as_text)


def _errors(batch: Batch) -> dict[str, Any] | None:
    if not batch.problems:
        return None
    return {"object": "list", "data": [problem.as_dict() for problem in batch.problems]}


def _check_metadata(metadata: Any) -> dict[str, str] | None:
    """Raises `RefusedError` (400) for metadata beyond 16 pairs of texts of 64 and 512 characters."""
    if metadata is None:
        return None
    if not isinstance(metadata, dict) or len(metadata) > MAX_METADATA_PAIRS:
        raise RefusedError(
            400, f"'metadata' must be an object of at most {MAX_METADATA_PAIRS} pairs.", param="metadata"
        )
    for key, value in metadata.items():
        if not isinstance(value, str) or len(key) > MAX_METADATA_KEY or len(value) > MAX_METADATA_VALUE:
            message = (
                f"Invalid 'metadata': keys have at most {MAX_METADATA_KEY} characters, "
                f"values are texts of at most {MAX_METADATA_VALUE}."
            )
            raise RefusedError(400, message, param="metadata")
    return metadata
