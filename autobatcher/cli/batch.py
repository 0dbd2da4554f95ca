"""`autobatcher batch`: a file of calls in, a file of answers out.

batch.py           flags → the input, looked through → a run → the exit code, and how to go on
batch_run.py       asks, and writes
batch_progress.py  how far it is
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import trio
from cyclopts import Parameter
from cyclopts.validators import Number

from .. import BatchOpenAI, events
from ..client.mapping import check_raw
from ..display.displays import Terminal
from ..engine.journal.file import delete_journal
from ..errors import UnbatchableRequestError
from ..files.duplicates import survey
from ..files.input_file import InputError, InputFile
from ..files.input_lines import BadLine, InputLine
from ..files.output_file import OutputError, OutputFile
from ..progress import Progress
from .batch_progress import shown
from .batch_run import BatchRun, Counts
from .flags import COMMAND_LINE_ONLY, Bytes, Count, Switch, UsageError
from .journal_flags import AsJson
from .live_status import Screen, screen_on
from .output import PrintableConsole, print_notice
from .serve import refused_journal_told
from .settings_flags import settings_of, with_settings
from .signals import run_until_signalled
from .upstream_flags import UpstreamFlags

EXAMPLES = """
**Examples**

    # a file in the Batch API's format; run it again after any interruption
    export OPENAI_API_KEY=...
    autobatcher batch requests.jsonl -o answers.jsonl

    # bodies without a frame, compressed; failures apart, so that they can be asked again
    autobatcher batch bodies.jsonl.gz -o answers.jsonl \\
      --endpoint /v1/chat/completions --errors failed.jsonl

    # from a pipe into a pipe, the first 100 lines, in their order
    make-requests | autobatcher batch - -o - --ordered --limit 100 | jq .custom_id
"""

ANSWERED, SOME_FAILED, NOTHING_SENT = 0, 1, 3
MOST_BAD_LINES_SHOWN = 100
MOST_FAILURES_SHOWN = 3

Endpoint = Literal[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/edits",
    "/v1/images/generations",
    "/v1/moderations",
    "/v1/responses",
]

_Flags = TypeVar("_Flags")


def _with_large_batches(flags: type[_Flags]) -> type[_Flags]:
    """A file has many calls at once, so its batches may be larger."""
    flags.batch_size = 10_000  # type: ignore[attr-defined]
    return flags


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
@_with_large_batches
@with_settings
class BatchFlags(UpstreamFlags):
    """How calls are batched.

    Attributes
    ----------
    max_retries:
        How often a line that failed with 408, 409, 429 or 5xx, or expired, is retried in another batch.
    ahead:
        How many calls may be under way; reading waits for room.
    ahead_bytes:
        How large their bodies may be, all together.
    """

    max_retries: Annotated[int, Parameter(validator=Number(gte=0))] = 2
    ahead: Count = 40_000
    ahead_bytes: Bytes = 256_000_000


def batch(
    source: Annotated[str, COMMAND_LINE_ONLY, Parameter(name="IN", allow_leading_hyphen=True)],
    /,
    *,
    output: Annotated[str, COMMAND_LINE_ONLY, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)],
    errors: Annotated[str | None, COMMAND_LINE_ONLY] = None,
    endpoint: Endpoint | None = None,
    ordered: Switch = False,
    strict: Switch = False,
    limit: Count | None = None,
    as_json: AsJson = False,
    flags: BatchFlags | None = None,
) -> int:
    """Ask every line of a file, and write an answer line for each.

    IN has lines of the Batch API (custom_id, url, body), or bodies alone with --endpoint; one ending with .gz is
    compressed, - is stdin. OUT has the Batch API's output lines, with the same custom ids; - is stdout. Lines are
    split into batches by what the provider allows.

    Interrupted in any way and run again, it goes on: what is in OUT is not asked again, and batches upstream are taken
    up. For that a journal stands beside OUT (OUT.journal, or --journal) until the last answer is in OUT. Progress goes
    to stderr. Every flag but the files can also be set as AUTOBATCHER_FLAG_NAME.

    Exit codes: 0 all lines are answered, 1 some failed, 2 wrong usage or input, 3 nothing could be sent, 130
    interrupted. 2 also stands for a custom id that comes twice: then nothing was sent.

    Args:
        source: The file of calls, or - for stdin.
        output: The file of answers, or - for stdout, where nothing can be resumed.
        errors: A file for the lines of failures. Without it they go to OUT. What it has is not asked again: delete it
            to ask failed lines again.
        endpoint: The endpoint of lines that are bodies alone. Their custom ids are line-1, line-2, ...
        ordered: Write answers in the order of IN. By default as they come.
        strict: Send nothing if any line is bad. By default bad lines are named and the others are sent.
        limit: Read the first lines of IN only, so many.
        as_json: Tell the progress as JSON lines, to stdout (to stderr with -o -).
    """
    flags = flags or BatchFlags()
    taken = InputFile(source, endpoint, limit)
    _refuse_confused_files(taken, output, errors)
    journal = flags.journal or _journal_beside(output)  # type: ignore[attr-defined]
    progress = Progress(requests=None)
    screen = screen_on(PrintableConsole(stderr=True))
    picture = False if as_json else screen.progress()
    client = _client(flags, journal, progress, picture)
    bad_lines = _BadLines(taken.name)
    try:
        lines = _look_through(taken, client, bad_lines, strict=strict, flags=flags)
        with ExitStack() as stack:
            written = stack.enter_context(OutputFile(output))
            failures = written if errors is None else stack.enter_context(OutputFile(errors))
            run = BatchRun(
                client,
                taken,
                written,
                failures,
                progress,
                bad_lines.tell,
                ordered=ordered,
                ahead=flags.ahead,
                ahead_bytes=flags.ahead_bytes,
            )
            run.counts.lines, run.counts.bad = lines, bad_lines.count
            _calm_garbage_collection()
            if isinstance(picture, Terminal):
                picture.calls = lines
            write_json = _json_writer(output) if as_json else None
            with refused_journal_told():
                received = trio.run(run_until_signalled, partial(_work, run, client, screen, progress, write_json))
    except (InputError, OutputError) as error:
        raise UsageError(f"{error}.") from error
    is_own = flags.journal is None and journal is not None  # type: ignore[attr-defined]
    if run.is_complete and received is None and is_own:
        delete_journal(Path(str(journal)))
    return _report(run.counts, progress, received, errors or output, has_journal=journal is not None)


def _refuse_confused_files(taken: InputFile, output: str, errors: str | None) -> None:
    for flag, name in (("--output", output), ("--errors", errors)):
        if name is not None and name != "-" and taken.is_same_file(name):
            raise UsageError(f"{flag}: {name} is the input itself; give another file.")
        if name is not None and name.endswith(".gz"):
            raise UsageError(f"{flag}: {name} would not be compressed; leave .gz out.")
    if errors is not None and (errors == output or Path(errors).absolute() == Path(output).absolute()):
        raise UsageError("--errors is the same file as --output: leave it out, failures go to OUT by themselves.")


def _journal_beside(output: str) -> str | None:
    """Where the journal is by default; nowhere if OUT is no file that can be written on later."""
    path = Path(output)
    return None if output == "-" or (path.exists() and not path.is_file()) else f"{output}.journal"


def _client(flags: BatchFlags, journal: Any, progress: Progress, picture: Terminal | bool) -> BatchOpenAI:
    def take_event(fields: dict[str, Any]) -> None:
        progress.take(events.parse(fields), progress.seconds)

    settings = {**settings_of(flags), "journal": journal, "progress": picture}
    return flags.client_with(**settings, batch_event_handler=take_event, max_retries=flags.max_retries)


class _BadLines:
    """Names bad lines on stderr: the first hundred of them."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self._name = name

    def tell(self, bad: BadLine) -> None:
        self.count += 1
        if self.count <= MOST_BAD_LINES_SHOWN:
            print_notice(f"{self._name}:{bad.number}: {bad.reason}")
        elif self.count == MOST_BAD_LINES_SHOWN + 1:
            print_notice("... further bad lines are only counted")


def _look_through(
    taken: InputFile, client: BatchOpenAI, bad_lines: _BadLines, *, strict: bool, flags: BatchFlags
) -> int:
    """Read the input once before anything is sent. Returns how many calls it has. Raises `UsageError`."""

    def check(line: InputLine) -> BadLine | None:
        if strict:
            try:
                check_raw(client, line, settings_of(flags)["completion_window"])
            except UnbatchableRequestError as error:
                return BadLine(line.number, error.message)
        return None

    found = survey(taken.lines, check, bad_lines.tell)
    if found.duplicates:
        listed = "; ".join(f"lines {each.first} and {each.second}: {each.custom_id!r}" for each in found.duplicates)
        raise UsageError(f"custom ids must be unique. {listed}. Nothing was sent.")
    if strict and found.bad:
        raise UsageError(f"--strict: {found.bad:,} bad lines, so nothing was sent.")
    return found.lines


def _calm_garbage_collection() -> None:
    """Tens of thousands of calls wait, and none is in a circle: looking for some takes an eighth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _json_writer(output: str) -> Callable[[str], None]:
    return partial(print, file=sys.stderr if output == "-" else sys.stdout, flush=True)


async def _work(
    run: BatchRun,
    client: BatchOpenAI,
    screen: Screen,
    progress: Progress,
    write_json: Callable[[str], None] | None,
    stop: trio.Event,
) -> None:
    async with shown(progress, screen, write_json), client, trio.open_nursery() as nursery:
        nursery.start_soon(_end_badly_upon, stop, client, nursery.cancel_scope)
        failure: Exception | None = None
        try:
            await run.run()
        except (InputError, OutputError) as error:
            failure = error
        if failure is not None or not run.is_complete:
            client.keep_for_rerun()
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure  # outside the nursery, which would wrap it in a group


async def _end_badly_upon(stop: trio.Event, client: BatchOpenAI, scope: trio.CancelScope) -> None:
    await stop.wait()
    client.keep_for_rerun()
    scope.cancel()


def _report(
    counts: Counts, progress: Progress, received: signal.Signals | None, failures: str, *, has_journal: bool
) -> int:
    """Say what became of the lines, and how to go on. Returns the exit code."""
    failed = counts.failed + counts.earlier_failed + counts.bad
    has_answers = counts.answered + counts.failed + counts.earlier > 0
    for message, count in progress.errors.most_common(MOST_FAILURES_SHOWN):
        print_notice(f"autobatcher batch: {count:,} failed with {message}")
    for reason in counts.why_unsent:
        print_notice(f"autobatcher batch: not sent: {reason}")
    done = f"{counts.answered + counts.earlier - counts.earlier_failed:,} of {counts.lines:,} lines are answered"
    again = "Run the same command again to go on" + (": nothing is paid twice." if has_journal else ".")
    if received is not None:
        print_notice(f"autobatcher batch: interrupted; {done}. {again}")
        return 128 + received
    if counts.unsent and has_answers:
        print_notice(f"autobatcher batch: {done}; {counts.unsent:,} calls were not sent. {again}")
        return SOME_FAILED
    if counts.unsent or (failed and not has_answers):
        print_notice("autobatcher batch: nothing could be sent. Put right what is said above, and run it again.")
        return NOTHING_SENT
    if failed:
        print_notice(f"autobatcher batch: {done}, {failed:,} failed. {_about_failures(counts, failures)}")
        return SOME_FAILED
    print_notice(f"autobatcher batch: {done}.")
    return ANSWERED


def _about_failures(counts: Counts, failures: str) -> str:
    if not counts.failed + counts.earlier_failed:
        return "Put the bad lines right, and run the same command again."
    return f"To ask failed lines again, delete them from {failures}, and run the same command again."
