"""The emulator on a real socket: a Quart-Trio app around `Emulator.handle`, served by hypercorn's trio
worker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.protocol.events import StreamClosed
from hypercorn.trio import serve
from quart import Response, request
from quart_trio import QuartTrio

from .server import Emulator
from .wire import ConnectionLostError, Reply, Request, close_body

MAX_BODY_BYTES = 300_000_000  # more than the largest input file, for the emulator to refuse itself
GRACEFUL_SECONDS = 1.0  # hypercorn waits so long for idle connections when it stops
CUT_SECONDS = 5.0  # longer than a handler takes to end after its connection was closed
_CUT = "autobatcher.cut"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


Middleware = Callable[[Any], Any]
"""A function of an ASGI app that returns another one."""


def create_app(emulator: Emulator, middleware: Middleware | None = None) -> QuartTrio:
    """A web app that passes every request to the emulator, and cuts connections that the emulator loses.

    middleware: put around the app.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY_BYTES, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)
    app.url_map.merge_slashes = False
    wrapped = app.asgi_app if middleware is None else middleware(app.asgi_app)
    app.asgi_app = _CuttableConnections(wrapped)  # type: ignore[method-assign]  # outermost: it needs hypercorn's `send`

    @app.route("/", defaults={"path": ""}, methods=_METHODS)
    @app.route("/<path:path>", methods=_METHODS)
    async def answer(path: str) -> Response:
        reply = await _reply_of(emulator)
        if reply is None:
            await _cut(request.scope)
            return Response(status=500)
        body = reply.body if isinstance(reply.body, bytes) else _CuttableBody(reply.body, request.scope)
        response = Response(body, reply.status, dict(reply.headers))
        response.timeout = None
        return response

    return app


async def serve_emulator(
    emulator: Emulator,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    middleware: Middleware | None = None,
    shutdown_trigger: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `shutdown_trigger` returns, or for ever.

    Reports its URL, like "http://127.0.0.1:43210", through `task_status`; port 0 takes a free port. Also runs the
    emulator's own tasks, if any. The caller handles signals.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(emulator.run)
        binds = await nursery.start(
            partial(_serve, nursery, create_app(emulator, middleware), _configure(host, port), shutdown_trigger)
        )
        task_status.started(binds[0])


async def _serve(  # noqa: ASYNC128  (passed on to the one that calls started())
    nursery: trio.Nursery,
    app: QuartTrio,
    config: Config,
    shutdown_trigger: Callable[[], Awaitable[None]] | None,
    *,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    await serve(app, config, shutdown_trigger=shutdown_trigger, task_status=task_status, mode="asgi")
    nursery.cancel_scope.cancel()


def _configure(host: str, port: int) -> Config:
    config = Config()
    config.bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    config.backlog = 4096
    config.keep_alive_timeout = 75
    config.keep_alive_max_requests = 1_000_000
    config.graceful_timeout = GRACEFUL_SECONDS
    config.loglevel = "WARNING"
    return config


async def _reply_of(emulator: Emulator) -> Reply | None:
    """None if the connection is to be lost."""
    try:
        return await emulator.handle(await _translate())
    except ConnectionLostError:
        return None


async def _translate() -> Request:
    return Request(
        method=request.method,
        path=request.path,
        query=request.args.to_dict(),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.get_data(as_text=False, cache=False, parse_form_data=False),
    )


# Cutting connections


class _CuttableConnections:
    """ASGI middleware that puts a function into the scope that cuts the connection, and hides late disconnects.

    After a whole response hypercorn reports a disconnect, from within the handler's own `send`. Quart-Trio would cancel
    the handler, and hypercorn would never close a connection that its client wants closed.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # ASGI cannot express this. `send` is a method of hypercorn's stream, which can close.
        stream = getattr(send, "__self__", None)
        if scope["type"] == "http" and stream is not None:
            scope[_CUT] = lambda: stream.send(StreamClosed(stream_id=stream.stream_id))
        is_over = False

        async def noted_send(event: Any) -> None:
            nonlocal is_over
            is_over = event["type"] == "http.response.body" and not event.get("more_body", False)
            await send(event)

        async def early_receive() -> Any:
            event = await receive()
            if event["type"] == "http.disconnect" and is_over:
                await trio.sleep_forever()  # cancelled once the handler is done
            return event

        await self._app(scope, early_receive, noted_send)


async def _cut(scope: Any) -> None:
    """Cuts the connection, after which hypercorn cancels this handler."""
    # hypercorn reports the disconnect before it closes the connection, and the app then cancels this task.
    with trio.move_on_after(CUT_SECONDS, shield=True):
        await scope[_CUT]()
    with trio.move_on_after(CUT_SECONDS):
        await trio.sleep_forever()


class _CuttableBody:
    """A reply's body that ends the connection where it breaks."""

    def __init__(self, chunks: AsyncIterator[bytes], scope: Any) -> None:
        self._chunks = chunks
        self._scope = scope

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._chunks)
        except ConnectionLostError:
            pass
        await _cut(self._scope)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await close_body(self._chunks)
