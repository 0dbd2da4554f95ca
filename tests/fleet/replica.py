"""One `autobatcher serve`, kept running by a supervisor, as a cluster does it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections import deque
from collections.abc import Sequence

import trio

from tests.cli.processes import COMMAND, environment

from .diary import Diary

SHORT = (
    "import sys; from tests.journal.program import shorten_lookups; shorten_lookups(); "
    "from autobatcher.cli import main; sys.exit(main())"
)
STOP_SECONDS = 45.0
"""How long a stopped replica may take to end: it awaits a creation in flight for up to 30 s."""


class Replica:
    """A process that is started again whenever it ends.

    Args:
        name: in the diary.
        flags: of `serve`; the port is among them.
        shortens: whether lost creations are looked up for 0.3 s instead of 45.

    Attributes:
        port: where it listens.
        pid: of the process that runs; None while there is none.
        is_serving: that process has answered a request.
        is_busy: an event happens to it.
        failures: what it must not have done.
    """

    def __init__(self, name: str, port: int, flags: Sequence[str], diary: Diary, *, shortens: bool) -> None:
        self.name = name
        self.port = port
        self.pid: int | None = None
        self.is_serving = False
        self.is_busy = False
        self.failures: list[str] = []
        program = [sys.executable, "-c", SHORT] if shortens else COMMAND
        self._command = [*program, "serve", "--port", str(port), *flags]
        self._diary = diary
        self._said: deque[str] = deque(maxlen=20)
        self._process: trio.Process | None = None
        self._may_run = trio.Event()
        self._may_run.set()
        self._is_closing = False
        self._was_asked = False

    async def run(self) -> None:
        """Keep it running, until it was told to close."""
        while True:
            await self._may_run.wait()
            if self._is_closing:
                return
            self._was_asked = False
            self._said.clear()
            async with trio.open_nursery() as nursery:
                code = await self._run_once(nursery)
            self._judge(code)
            await trio.sleep(0.2)

    async def _run_once(self, nursery: trio.Nursery) -> int:
        self._process = await trio.lowlevel.open_process(
            self._command, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.pid = self._process.pid
        self._diary.write(self.name, f"started, pid {self.pid}")
        try:
            nursery.start_soon(self._note, self._process.stdout)
            nursery.start_soon(self._note, self._process.stderr)
            nursery.start_soon(self._note_service, self.pid)
            return await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()
            self.pid, self.is_serving = None, False

    async def _note_service(self, pid: int) -> None:
        while self.pid == pid and not self.is_serving:
            if await self.is_up():
                self.is_serving = self.pid == pid
            await trio.sleep(0.1)

    async def _note(self, stream: trio.abc.ReceiveStream | None) -> None:
        assert stream is not None
        rest = b""
        async for piece in stream:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._take_line(line)
        if rest:
            self._take_line(rest)

    def _take_line(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        self._said.append(text)
        self._diary.write(self.name, text)

    def _judge(self, code: int) -> None:
        """A replica ends when it is told to, or if it cannot open its journal: its supervisor starts it again."""
        self._diary.write(self.name, f"ended with {code}")
        is_refused = code == 1 and any("--journal:" in line for line in self._said)
        if code not in (0, -signal.SIGKILL, -signal.SIGTERM) and not is_refused:
            self.failures.append(f"{self.name} ended with exit code {code}")
        elif not self._was_asked and not is_refused:
            self.failures.append(f"{self.name} ended by itself, with exit code {code}")

    # What is done to it

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    async def kill_for_good(self) -> None:
        """It is not started again until `revive`."""
        self._may_run = trio.Event()
        self.kill()
        await self._gone()

    def revive(self) -> None:
        self._may_run.set()

    async def terminate(self) -> None:
        """SIGTERM, and wait for its end."""
        pid = self.pid
        self._signal(signal.SIGTERM)
        with trio.move_on_after(STOP_SECONDS):
            await self._gone(pid)
            return
        self.failures.append(f"{self.name} still ran {STOP_SECONDS:.0f} s after SIGTERM")
        self.kill()

    async def pause(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        process, asked = self._process, self._was_asked
        self._signal(signal.SIGSTOP)
        self._was_asked = asked
        await trio.sleep(seconds)
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGCONT)

    @property
    def last_words(self) -> str:
        """What its process said last."""
        return "\n".join(self._said)

    async def wait_until_up(self, seconds: float = 60.0) -> bool:
        """Until it answers /health. Returns whether it did within so many seconds."""
        with trio.move_on_after(seconds):
            while not self.is_serving or not await self.is_up():  # noqa: ASYNC110  (as a probe would look)
                await trio.sleep(0.1)
            return True
        self.failures.append(f"{self.name} was not up after {seconds:.0f} s")
        return False

    async def is_up(self) -> bool:
        with trio.move_on_after(2.0):
            try:
                async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                    await stream.send_all(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                    return (await stream.receive_some()).startswith(b"HTTP/1.1 200")
            except (OSError, trio.BrokenResourceError):
                return False
        return False

    async def receipt(self) -> tuple[int, int]:
        """How many requests it says were billed, and how many may have been."""

        def ask() -> tuple[int, int]:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/receipt", timeout=10) as response:
                told = json.load(response)
                return told["requests"], told["uncertain_requests"]

        return await trio.to_thread.run_sync(ask, abandon_on_cancel=True)

    async def close(self) -> None:
        """Stop it for good, gracefully."""
        self._is_closing = True
        if self.pid is not None:
            await self.terminate()
        self.revive()

    def _signal(self, number: signal.Signals) -> None:
        self._was_asked = True
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def _gone(self, pid: int | None = None) -> None:
        while self.pid is not None and (pid is None or self.pid == pid):  # noqa: ASYNC110  (it has no event)
            await trio.sleep(0.02)
