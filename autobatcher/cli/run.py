"""`autobatcher run -- COMMAND`: a proxy for one command."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TextIO

import trio
from cyclopts import Parameter

from .. import BatchOpenAI, events
from ..display.displays import Lines
from ..engine.request import Request
from ..money.receipt import Receipt
from ..money.receipt_text import sentence
from ..progress import Progress
from .child_environment import without_keys
from .command_stop import CommandStop
from .event_lines import EventLines, event_lines
from .flags import Switch, UsageError
from .host_flags import hosts_served
from .loopback import without_proxy
from .output import print_notice
from .proxy_flags import ProxyFlags
from .question import Question, question_here
from .receipt_file import keep_receipt
from .rehearsal import Rehearsal, rehearsal
from .serve import listen_or_refuse, refused_journal_told, start_logging
from .signals import StopSignals, receivable, signals_here
from .stopping import ProxyStop

EXAMPLES = """
**Examples**

    # one command at batch prices; its exit code is this command's exit code
    export OPENAI_API_KEY="$DOUBLEWORD_API_KEY"
    autobatcher run --base-url https://api.doubleword.ai/v1 -- pytest evals/

    # a rehearsal: no key, no network, no cost
    autobatcher run --rehearse -- pytest evals/

    # preempted? run the same command again: it resumes its batches and pays nothing twice
    autobatcher run --journal batches.sqlite3 -- python evaluate.py

    # with a record of all lifecycle events, and a receipt
    autobatcher run --events events.jsonl --receipt receipt.md \\
      --batch-metadata ci_job="$CI_JOB_ID" -- python evaluate.py

    # not more than two dollars a day, over all runs with this journal
    autobatcher run --max-cost 2/day --journal batches.sqlite3 -- pytest evals/
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
    rehearse: Switch = False,
    progress: Switch = False,
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
        rehearse: Send nothing to the provider: an emulator in this process answers, with the provider's rules for
            batches, at once and at no cost. No key and no network are needed. The end says what it would have cost.
        progress: Print a line to stderr every 30 s: how far the command's calls are.
    """
    if not command:
        raise UsageError("the command is missing: autobatcher run [flags] -- COMMAND ARGS...")
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
            progress=Lines(_print_progress) if progress else False,  # no picture: the terminal is the command's
        )
        on_answer = None if rehearsed is None else rehearsed.count
        with refused_journal_told():
            question = None if rehearse else question_here()  # nothing is paid in a rehearsal
            code, tally = trio.run(_run, list(command), client, flags, on_answer, question)
        _tell_end(tally, totals, client, rehearsed, receipt)
        return code


def _print_progress(line: str) -> None:
    print_notice(f"autobatcher run: {line}")


def _tell_end(
    tally: Any, progress: Progress, client: BatchOpenAI, rehearsed: Rehearsal | None, receipt_file: Path | None
) -> None:
    """The summary, and what was paid or would have been."""
    receipt = None if rehearsed else client.receipt()
    for line in summary(tally, progress, receipt):
        print_notice(line)
    if rehearsed is not None:
        for line in (REHEARSED, *rehearsed.told()):
            print_notice(line)
    if receipt is not None:
        keep_receipt(receipt, receipt_file, os.environ, command="run")


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
    question: Question | None,
) -> tuple[int, Any]:
    """The command's exit code, and the proxy's `Tally`."""
    from ..server import Drain, Report, create_app, serve

    sockets = listen_or_refuse(HOST, 0)
    key, report = secrets.token_urlsafe(32), Report()
    report.tally.on_answer = on_answer
    limits = flags.limits()
    flags.say_if_lowered("run", limits)
    app = create_app(client, proxy_key=key, limits=limits, report=report, hosts=hosts_served(HOST))
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
                await serving.start(partial(serve, client, app, sockets, stop=stop.stop, drain=stop.drain))
                watching.start_soon(ending.upon, signals)
                code = await _run_command(command, environment, watching, partial(_pass_on, received, signals))
                await ending.command_ended(signals, code)
            watching.cancel_scope.cancel()
    return code, report.tally


async def _run_command(
    command: list[str],
    environment: dict[str, str],
    watching: trio.Nursery,
    watch: Callable[[trio.Process], Awaitable[None]],
) -> int:
    """Run the command to its end, and `watch` from its start on. Returns its exit code, as a shell would."""
    try:
        process = await trio.lowlevel.open_process(command, env=environment)  # it inherits stdin, stdout, stderr
    except OSError as error:
        print_notice(f"autobatcher run: cannot start {command[0]}: {error.strerror or error}")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    watching.start_soon(watch, process)
    await process.wait()
    code = process.returncode or 0
    return 128 - code if code < 0 else code


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


def summary(tally: Any, progress: Progress, receipt: Receipt | None) -> list[str]:
    """Totals of the command's use of its proxy, and what was paid, if anything could be."""
    left = tally.requests - tally.answered - tally.failed
    rows = [
        ("requests", f"{tally.requests:,} ({tally.answered:,} answered, {tally.failed:,} failed, {left:,} withdrawn)"),
        ("batches", f"{progress.submitted_batches:,} ({progress.cancelled_batches:,} cancelled at the end)"),
        *_lanes(tally),
        ("tokens", f"{tally.input_tokens:,} in, {tally.output_tokens:,} out"),
        *([] if receipt is None else [("cost", sentence(receipt))]),
        ("time", f"{progress.seconds:.1f} s"),
    ]
    return [f"autobatcher run: {name:9} {value}" for name, value in rows]


def _lanes(tally: Any) -> list[tuple[str, str]]:
    """A row if deadlines or lanes were used."""
    if not tally.deadlines_missed and not tally.lanes.keys() - {"batch"}:
        return []
    counts = [f"{count:,} {lane}" for lane, count in sorted(tally.lanes.items())]
    return [("lanes", f"{', '.join(counts) or 'none'} ({tally.deadlines_missed:,} deadlines missed)")]
