"""`autobatcher batch`: a file of calls in, a file of answers out.

batch.py           the input, looked through → a plan, or a run and its report
batch_flags.py     how calls are batched
batch_plan.py      what a run would send
batch_run.py       asks, and writes
batch_progress.py  how far it is
batch_report.py    what became of the lines, what it cost, how to go on
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import trio
from cyclopts import Parameter

from .. import BatchOpenAI, events
from ..client.costs import looks_up_prices
from ..client.mapping import check_raw
from ..display.displays import Display
from ..engine.journal.file import delete_journal
from ..errors import JournalInUseError, UnbatchableRequestError
from ..files.duplicates import survey
from ..files.input_file import InputError, InputFile
from ..files.input_lines import BadLine, InputLine
from ..files.output_file import OutputError, OutputFile
from ..money.library_prices import import_prices
from ..progress import Progress
from .batch_flags import BatchFlags
from .batch_plan import print_plan
from .batch_progress import display_on, progress_shown
from .batch_report import ANSWERED, SOME_FAILED, Ended, report
from .batch_run import BatchRun
from .flags import COMMAND_LINE_ONLY, Count, InputName, Switch, UsageError
from .journal_flags import AsJson
from .live_status import screen_on
from .output import PrintableConsole, print_notice
from .receipt_file import keep_receipt
from .serve import refused_journal_told
from .settings_flags import settings_of
from .signals import run_until_signalled

EXAMPLES = """
**Examples**

    # a file in the Batch API's format; run it again after any interruption
    export OPENAI_API_KEY=...
    autobatcher batch requests.jsonl -o answers.jsonl

    # bodies without a frame, compressed; failures apart, to be asked again
    autobatcher batch bodies.jsonl.gz -o answers.jsonl \\
      --endpoint /v1/chat/completions --errors failed.jsonl

    # from a pipe into a pipe, the first 100 lines, in their order
    make-requests | autobatcher batch - -o - --ordered --limit 100 | jq .custom_id
"""

MOST_BAD_LINES_SHOWN = 100

Endpoint = Literal[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/edits",
    "/v1/images/generations",
    "/v1/moderations",
    "/v1/responses",
]


def batch(
    source: Annotated[InputName, COMMAND_LINE_ONLY, Parameter(name="IN")],
    /,
    *,
    output: Annotated[str, COMMAND_LINE_ONLY, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)],
    errors: Annotated[str | None, COMMAND_LINE_ONLY] = None,
    endpoint: Endpoint | None = None,
    ordered: Switch = False,
    strict: Switch = False,
    limit: Count | None = None,
    plan: Switch = False,
    receipt: Path | None = None,
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
        plan: Show what the lines that are not in OUT yet would become and cost: batches, tokens, USD. Nothing is sent.
        receipt: Write what was paid to this file: as JSON, or as Markdown if its name ends in .md.
        as_json: Tell the progress as JSON lines, to stdout (to stderr with -o -).
    """
    flags = flags or BatchFlags()
    taken = InputFile(source, endpoint, limit)
    _refuse_confused_files(taken, {"--output": output, "--errors": errors, "--receipt": receipt})
    own_journal = None if flags.journal else _journal_beside(output)  # type: ignore[attr-defined]
    journal = flags.journal or own_journal  # type: ignore[attr-defined]
    files = [OutputFile(name) for name in (output, errors) if name is not None]
    settings = {**settings_of(flags), "journal": journal}
    with _told_as_usage_errors():
        taken.check()  # before anything else is missed
        if plan:
            is_good = print_plan(taken, files, flags, settings, as_json=as_json)
            return ANSWERED if is_good else SOME_FAILED
        for file in files:
            file.check()
        progress, bad_lines = Progress(requests=None), _BadLines(taken.name)
        client = _client(flags, settings, progress)
        lines = _look_through(taken, client, bad_lines, strict=strict, completion_window=settings["completion_window"])
        run = BatchRun(
            client,
            taken,
            files[0],
            files[-1],
            progress,
            bad_lines.tell,
            ordered=ordered,
            ahead=flags.ahead,
            ahead_bytes=flags.ahead_bytes,
        )
        run.counts.lines, run.counts.bad = lines + bad_lines.count, bad_lines.count
        run.counts.bad_numbers = bad_lines.numbers
        display = display_on(screen_on(PrintableConsole(stderr=True)), _json_writer(output) if as_json else None)
        received = _run_to_end(partial(_work, run, client, display, progress), files)
    if run.is_complete and received is None and own_journal is not None:
        with suppress(JournalInUseError):  # another run on OUT has begun: it deletes it
            delete_journal(own_journal)
    paid = client.receipt()
    keep_receipt(paid, receipt, os.environ, command="batch")
    return report(
        Ended(
            counts=run.counts,
            progress=progress,
            receipt=paid,
            received=received,
            failures=errors or output,
            has_journal=journal is not None,
        )
    )


def _run_to_end(work: Callable[[trio.Event], Awaitable[None]], files: Iterable[OutputFile]) -> signal.Signals | None:
    """Run, and return the signal that ended it."""
    _calm_garbage_collection()
    with ExitStack() as stack, refused_journal_told():
        for file in files:
            stack.enter_context(file)
        return trio.run(run_until_signalled, work)


@contextmanager
def _told_as_usage_errors() -> Iterator[None]:
    try:
        yield
    except (InputError, OutputError) as error:
        raise UsageError(f"{error}.") from error


def _refuse_confused_files(taken: InputFile, names: dict[str, str | Path | None]) -> None:
    used: dict[Path, str] = {}
    for flag, name in names.items():
        if name is None or str(name) == "-":
            continue
        path = Path(name)
        if taken.is_same_file(str(path)):
            raise UsageError(f"{flag}: {path} is the input itself; give another file.")
        if path.suffix == ".gz":
            raise UsageError(f"{flag}: {path} would not be compressed; leave .gz out.")
        if (other := used.setdefault(path.resolve(), flag)) != flag:
            hint = "leave it out, failures go to OUT by themselves" if flag == "--errors" else "give another one"
            raise UsageError(f"{flag} is the same file as {other}: {hint}.")


def _journal_beside(output: str) -> Path | None:
    """Where the journal is by default; nowhere if OUT is no file that can be written on later."""
    path = Path(output)
    return None if output == "-" or (path.exists() and not path.is_file()) else Path(f"{output}.journal")


def _client(flags: BatchFlags, settings: dict[str, Any], progress: Progress) -> BatchOpenAI:
    def take_event(fields: dict[str, Any]) -> None:
        progress.take(events.parse(fields), progress.seconds)

    client = flags.client_with(**settings, batch_event_handler=take_event, max_retries=flags.max_retries)
    if looks_up_prices(client):
        import_prices()  # here, because it would hold up the event loop later
    return client


class _BadLines:
    """Names bad lines on stderr: the first hundred of them."""

    def __init__(self, name: str) -> None:
        self.count = 0
        self.numbers: list[int] = []
        self._name = name

    def tell(self, bad: BadLine) -> None:
        self.count += 1
        if self.count <= MOST_BAD_LINES_SHOWN:
            self.numbers.append(bad.number)
            print_notice(f"{self._name}:{bad.number}: {bad.reason}")
        elif self.count == MOST_BAD_LINES_SHOWN + 1:
            print_notice("... further bad lines are only counted")


def _look_through(
    taken: InputFile, client: BatchOpenAI, bad_lines: _BadLines, *, strict: bool, completion_window: str
) -> int:
    """Read the input once before anything is sent. Returns how many calls it has. Raises `UsageError`."""

    def check(line: InputLine) -> BadLine | None:
        if strict:
            try:
                check_raw(client, line, completion_window)
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
    def write(line: str) -> None:
        with suppress(BrokenPipeError):  # the answers are more important than a reader of the progress
            print(line, file=sys.stderr if output == "-" else sys.stdout, flush=True)

    return write


async def _work(run: BatchRun, client: BatchOpenAI, display: Display, progress: Progress, stop: trio.Event) -> None:
    async with progress_shown(progress, client, display), client, trio.open_nursery() as nursery:
        nursery.start_soon(_end_badly_upon, stop, client, nursery.cancel_scope)
        failure: Exception | None = None
        try:
            await run.run()
        except Exception as error:
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
