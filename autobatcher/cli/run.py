"""`autobatcher run -- COMMAND`: a proxy for one command."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TextIO

import trio
from cyclopts import Parameter

from .. import BatchOpenAI, events
from ..engine.request import Request
from ..progress import Progress
from .arrivals import Arrivals, counting
from .child_environment import without_keys
from .command_stop import CommandStop
from .event_lines import EventLines, event_lines
from .flags import Switch, UsageError, unknown_option
from .host_flags import hosts_served
from .loopback import without_proxy
from .output import print_notice
from .proxy_flags import ProxyFlags
from .question import Question, question_here
from .receipt_file import keep_receipt, write_or_tell
from .rehearsal import Rehearsal, rehearsal
from .request_log import request_log_at
from .run_progress import progress_beside_command
from .run_summary import Summary, summary_document, summary_rows
from .serve import listen_or_refuse, refused_journal_told, start_logging
from .signals import StopSignals, receivable, signals_here
from .start_check import check_first
from .stopping import ProxyStop

EXAMPLES = """
**Examples**

    # one command at batch prices; its exit code is this command's exit code
    export OPENAI_API_KEY="$DOUBLEWORD_API_KEY"
    autobatcher run --base-url https://api.doubleword.ai/v1 -- pytest -n 32 evals/

    # a rehearsal: no key, no network, no cost
    autobatcher run --rehearse -- pytest -n 32 evals/

    # preempted? run it again: it resumes its batches
    autobatcher run --journal batches.sqlite3 -- python evaluate.py

    # with a record of all lifecycle events, and a receipt
    autobatcher run --events events.jsonl --receipt receipt.md \\
      --batch-metadata ci_job="$CI_JOB_ID" -- python evaluate.py

    # not more than two dollars a day, over all runs with this journal
    autobatcher run --max-cost 2/day --journal batches.sqlite3 -- python evals.py
"""

USAGE = "Usage: autobatcher run [OPTIONS] -- COMMAND ARGS..."

REHEARSED = "autobatcher run: this was a rehearsal: nothing was sent to the provider, and nothing was paid."

HOST = "127.0.0.1"

FROM_A_KEYBOARD = signals_here("SIGINT", "SIGQUIT")
ABOUT_THE_END = (*FROM_A_KEYBOARD, *signals_here("SIGTERM", "SIGHUP"))
PASSED_ON = (*ABOUT_THE_END, *signals_here("SIGUSR1", "SIGUSR2"))
"""Signals for the command: `run` ends when the command does."""

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""A shell's exit codes for a command that cannot be started."""


def run(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True, show=False)],
    events: Path | None = None,
    receipt: Path | None = None,
    summary_json: Path | None = None,
    rehearse: Switch = False,
    progress: Annotated[bool | None, Parameter(show_default=False)] = None,
    flags: ProxyFlags | None = None,
) -> int:
    """Run one command with its own proxy, and cancel the batches that it leaves running.

    Everything after -- is the command. Its OPENAI_BASE_URL and OPENAI_API_KEY point to a proxy on a free loopback port
    that accepts no other key, and its NO_PROXY names that address. Variables that hold a key of autobatcher's, such as
    AUTOBATCHER_API_KEY, are not passed on. It inherits stdin, stdout and stderr, and signals
    are passed on to it. When it ends, running batches are cancelled upstream (unless --keep-active-batches-on-close is
    given, or it failed and a --journal can find them again), a summary with the cost goes to stderr, and `run` exits
    with the command's exit code (128+n if signal n ended it). In a GitHub job the receipt is added to the job's
    summary. Every flag can also be set as AUTOBATCHER_FLAG_NAME.

    A DURATION is written 10s, 30m, 1.5h or 7d; a bare number is seconds. A SIZE is written 500kB, 64MB or 1GiB.

    Args:
        events: Append lifecycle events to this file, one JSON object a line.
        receipt: Write what was paid to this file: as JSON, or as Markdown if its name ends in .md.
        summary_json: Write the summary to this file, as JSON.
        rehearse: Send nothing to the provider: an emulator in this process answers, with the provider's rules for
            batches, at once and at no cost. No key and no network are needed. The end says what it would have cost.
        progress: Show how far the command's calls are: in the last row of a terminal, elsewhere in a line on stderr
            every 30 s, and at the end if --progress is given.
    """
    if not command:
        raise UsageError("the command is missing: autobatcher run [flags] -- COMMAND ARGS...")
    if command[0].startswith("-"):
        raise unknown_option(command[0])
    flags = flags or ProxyFlags()
    start_logging(flags.log_level)
    with contextlib.ExitStack() as stack:
        lines = None
        if events is not None:
            lines = stack.enter_context(event_lines(stack.enter_context(_open_record(events))))
        totals, rehearsed = Progress(requests=None), None
        if rehearse:
            if receipt is not None:
                print_notice("autobatcher run: --receipt is left alone: nothing is paid in a rehearsal.")
            rehearsed = stack.enter_context(rehearsal(flags))
            flags = rehearsed.flags
        client = flags.make_client(
            partial(_take_event, totals, lines),
            http_client=rehearsed.http_client if rehearsed else None,
            progress=progress_beside_command(progress, sys.stderr, os.environ),
        )
        on_answer = None if rehearsed is None else rehearsed.count
        request_log = stack.enter_context(request_log_at(flags.request_log))
        check = None if flags.no_check or rehearse else partial(check_first, client, command="run")
        with refused_journal_told():
            question = None if rehearse else question_here()  # nothing is paid in a rehearsal
            end = trio.run(_run, list(command), client, flags, on_answer, check, request_log, question)
        _tell_end(end, totals, client, rehearsed, receipt, summary_json)
        return end.code


@dataclass(frozen=True)
class _End:
    """How the command ended, and what its proxy counted."""

    code: int
    was_started: bool
    tally: Any
    arrivals: Arrivals


def _tell_end(
    end: _End,
    progress: Progress,
    client: BatchOpenAI,
    rehearsed: Rehearsal | None,
    receipt_file: Path | None,
    summary_file: Path | None,
) -> None:
    """The summary, and what was paid or would have been. Of a command that never ran there is nothing to tell."""
    receipt = None if rehearsed else client.receipt()
    summary = Summary(
        exit_code=end.code,
        was_started=end.was_started,
        tally=end.tally,
        progress=progress,
        receipt=receipt,
        arrivals=end.arrivals,
    )
    if end.was_started:
        for line in summary_rows(summary):
            print_notice(f"autobatcher run: {line}")
        for line in () if rehearsed is None else (REHEARSED, *rehearsed.told()):
            print_notice(line)
    if summary_file is not None:
        text = json.dumps(summary_document(summary), indent=2) + "\n"
        write_or_tell("run", "the summary", summary_file, lambda: summary_file.write_text(text, encoding="utf-8"))
    if receipt is not None:
        keep_receipt(receipt, receipt_file, os.environ if end.was_started else {}, command="run")


def _open_record(path: Path) -> TextIO:
    try:
        return path.open("a")
    except OSError as error:
        raise UsageError(f"--events: cannot write {path}: {error.strerror or error}.") from error


def _take_event(progress: Progress, lines: EventLines | None, fields: dict[str, Any]) -> None:
    if lines is not None:
        lines.write(fields)
    progress.take(events.parse(fields), progress.seconds)


async def _run(
    command: list[str],
    client: BatchOpenAI,
    flags: ProxyFlags,
    on_answer: Callable[[Request], None] | None,
    check: Callable[[], Awaitable[None]] | None,
    request_log: Any,
    question: Question | None,
) -> _End:
    from ..server import Drain, Report, create_app, serve

    if check is not None:
        await check()
    sockets = listen_or_refuse(HOST, 0)
    key, report = secrets.token_urlsafe(32), Report()
    report.tally.on_answer = on_answer
    limits = flags.limits()
    flags.say_if_lowered("run", limits)
    arrivals = Arrivals()
    hosts = hosts_served(HOST)
    app = create_app(client, proxy_key=key, limits=limits, report=report, hosts=hosts, request_log=request_log)
    environment = {
        **without_keys(os.environ, (client.api_key, getattr(client, "admin_api_key", None))),
        **without_proxy(os.environ, HOST),
        "OPENAI_BASE_URL": f"http://{HOST}:{sockets[0].getsockname()[1]}/v1",
        "OPENAI_API_KEY": key,
    }
    stop = ProxyStop("run", client, Drain(report, flags.drain), question)
    ending, signals = CommandStop(stop, client), StopSignals()
    # Outermost, so that a signal during start-up or shutdown of the proxy does not end the process.
    with trio.open_signal_receiver(*receivable(PASSED_ON)) as received:
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as serving:
                app.asgi_app = counting(app.asgi_app, arrivals)  # type: ignore[method-assign]  # as Quart documents it
                await serving.start(partial(serve, client, app, sockets, stop=stop.stop, drain=stop.drain))
                watching.start_soon(ending.upon, signals)
                watch = partial(_pass_on, received, signals)
                code, was_started = await _run_command(command, environment, watching, watch)
                await ending.command_ended(signals, code)
            watching.cancel_scope.cancel()
    return _End(code, was_started, report.tally, arrivals)


async def _run_command(
    command: list[str],
    environment: dict[str, str],
    watching: trio.Nursery,
    watch: Callable[[trio.Process], Awaitable[None]],
) -> tuple[int, bool]:
    """Run the command to its end, and `watch` from its start on. Returns its exit code, as a shell would, and whether
    it was started."""
    try:
        process = await trio.lowlevel.open_process(command, env=environment)  # it inherits stdin, stdout, stderr
    except OSError as error:
        print_notice(f"autobatcher run: cannot start {command[0]}: {error.strerror or error}")
        return (NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE), False
    watching.start_soon(watch, process)
    await process.wait()
    code = process.returncode or 0
    return (128 - code if code < 0 else code), True


async def _pass_on(received: AsyncIterator[int], signals: StopSignals, process: trio.Process) -> None:
    """Pass signals on to the command. One that asks it to end also limits the time of its batches."""
    async for number in received:
        if not (number in FROM_A_KEYBOARD and _shares_a_keyboard()):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        if number in ABOUT_THE_END:
            signals.take(number)


def _shares_a_keyboard() -> bool:
    """Whether the command gets Ctrl-C by itself: terminals and Windows consoles send it to all their processes."""
    return os.name == "nt" or (sys.stdin is not None and sys.stdin.isatty())
