"""`autobatcher serve` as a process that is killed and restarted, and clients that retry lost requests."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.cli.processes import environment, find_url
from tests.journal.crashes import Killer

SERVE = (
    "import sys; from tests.journal.program import shorten_lookups; shorten_lookups(); "
    "from autobatcher.cli import main; sys.exit(main())"
)
FLAGS = (
    *("--provider", "openai", "--api-key", "test-key", "--batch-size", "20", "--batch-window", "0.05"),
    *("--poll-interval", "0.05"),
)


class Proxy:
    """Keeps the process running, on one port."""

    def __init__(self, killer: Killer, base_url: str, journal: Path) -> None:
        self._killer = killer
        self._flags = ("--base-url", base_url, "--journal", str(journal), *FLAGS)
        self._port = 0
        self._process: trio.Process | None = None
        self._must_stop = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the process, restart it whenever it is killed, and stop it at the end of the block."""
        await self._start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            self._killer.said("queueing")
            yield
            self._must_stop = True
            self._killer.said("closing")
            assert self._process is not None
            self._process.send_signal(signal.SIGTERM)

    async def ask(self, body: dict[str, Any]) -> str:
        """Return the answer's text. Retries while the proxy is down."""
        url = f"http://127.0.0.1:{self._port}/v1/chat/completions"
        async with httpx.AsyncClient(timeout=60) as http:
            while True:
                try:
                    response = await http.post(url, json=body)
                except httpx.TransportError:
                    await trio.sleep(0.05)
                    continue
                assert response.status_code == 200, response.text
                text: str = response.json()["choices"][0]["message"]["content"]
                return text

    async def _keep_alive(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            self._killer.pid = None
            if code != -signal.SIGKILL:
                assert code == 0, code
                assert self._must_stop
                return
            await self._start()
            if self._must_stop:
                await self._wait_until_it_answers()
                self._process.send_signal(signal.SIGTERM)

    async def _wait_until_it_answers(self) -> None:
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{self._port}/health")).status_code == 200

    async def _start(self) -> None:
        command = [sys.executable, "-c", SERVE, "serve", "--port", str(self._port), *self._flags]
        self._process = await trio.lowlevel.open_process(
            command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self._process.stderr is not None
        said = b""
        while b"->" not in said:
            piece = await self._process.stderr.receive_some()
            assert piece, said.decode()
            said += piece
        self._port = int(find_url(said.decode()).removesuffix("/v1").rpartition(":")[2])
        self._killer.pid = self._process.pid
