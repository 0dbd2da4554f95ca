"""The operations on files and batches, by name."""

from __future__ import annotations

from .batches import Batches
from .dialects import OpenAIDialect
from .files import Files
from .routes import Route
from .wire import RefusedError, Reply, Request


class Operations:
    """Files and batches, as requests reach them."""

    def __init__(self, dialect: OpenAIDialect, files: Files, batches: Batches) -> None:
        self._dialect = dialect
        self._files = files
        self._batches = batches

    def perform(self, route: Route, request: Request, now: float) -> Reply:
        """Raises `RefusedError` for what cannot be done, and (404) for what the dialect lacks."""
        operation = "unknown" if route.operation in self._dialect.lacks else route.operation
        match operation:
            case "files.create":
                return self._files.create(request, now)
            case "files.list":
                return self._files.list(request, now)
            case "files.retrieve":
                self._batches.advance(now)
                return self._files.retrieve(route.item_id, now)
            case "files.content":
                self._batches.advance(now)
                return self._files.content(route.item_id, request, now)
            case "files.delete":
                return self._delete_file(route.item_id, now)
            case "files.cost_estimate" if self._dialect.tells_costs:
                return self._files.estimate_cost(route.item_id, request, now)
            case "batches.create":
                return self._batches.create(request, now)
            case "batches.list":
                return self._batches.list(request, now)
            case "batches.retrieve":
                return self._batches.retrieve(route.item_id, now)
            case "batches.cancel":
                return self._batches.cancel(route.item_id, now)
            case "batches.delete" if self._dialect.file_ids_from_the_start:
                return self._batches.delete(route.item_id, now)
            case "batches.analytics" if self._dialect.tells_costs:
                return self._batches.analytics(route.item_id, now)
            case _:
                raise RefusedError(404, f"Invalid URL ({request.method} {request.path})", code="unknown_url")

    def _delete_file(self, file_id: str, now: float) -> Reply:
        self._batches.advance(now)
        reply = self._files.delete(file_id, now)
        if self._dialect.file_ids_from_the_start:
            self._batches.input_file_deleted(file_id, now)
        return reply
