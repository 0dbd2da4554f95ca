"""The cyclopts app: its commands, and their exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from .. import __version__
from ..redaction import without_url_secrets
from . import (
    batch,
    cancel,
    check,
    demo,
    emulate,
    forget,
    plan,
    prices,
    receipt,
    reconcile,
    results,
    serve,
    status,
    watch,
)
from . import run as run_
from .config import Environment, environment_and_file_of
from .flag_groups import EMULATOR_GROUPS, GROUPS
from .flags import UsageError
from .help_format import help_format
from .journal import make_journal_app
from .mistyped import explained
from .output import print_notice

HELP = "Ordinary OpenAI-style calls, sent through the Batch API at batch prices."

COMMAND_GROUPS: dict[str, tuple[str, ...]] = {
    "Try it, for nothing": ("demo", "emulate"),
    "Make calls at batch prices": ("batch", "run", "serve"),
    "Look before": ("check", "plan", "prices"),
    "See what became of batches": ("status", "watch", "results", "receipt"),
    "Tidy up": ("cancel", "reconcile", "forget", "journal"),
    "About": ("help", "version", "install-completion"),
}

EPILOGUE = """
`autobatcher COMMAND --help` explains a command. Start with `autobatcher demo`: it costs nothing.

Every command but `demo` also reads its flags from the environment: `--batch-size` is AUTOBATCHER_BATCH_SIZE. Flags that
delete, or widen what a command does, such as `--all` and `--force`, can only be given on the command line.

A DURATION is written 10s, 30m, 1.5h or 7d, a bare number is seconds. A SIZE is written 500kB, 64MB or 1GiB, a bare
number is bytes.
"""

READER_IS_GONE = 141
"""A shell's exit code for a program that SIGPIPE ended, as in `autobatcher results | head`."""


def make_app() -> App:
    """The app with all its commands."""
    app = App(
        name="autobatcher",
        version=__version__,
        help=HELP,
        help_format="markdown",
        help_formatter=help_format(COMMAND_GROUPS),
        help_epilogue=EPILOGUE,
        suppress_keyboard_interrupt=False,
    )
    app.register_install_completion_command(help="Let the shell complete commands and flags (bash, zsh, fish).")
    environment, environment_and_file = Environment(app), environment_and_file_of(app)
    in_groups, of_emulator, ungrouped = help_format(GROUPS), help_format(EMULATOR_GROUPS), help_format()
    # The demo ignores the environment: settings for other commands must not make it cost money.
    app.command(demo.demo, help_epilogue=demo.EXAMPLES, help_formatter=in_groups)
    app.command(emulate.emulate, help_epilogue=emulate.EXAMPLES, config=environment, help_formatter=of_emulator)
    with_file: dict[str, Any] = {"config": environment_and_file, "help_formatter": in_groups}
    app.command(serve.serve, help_epilogue=serve.EXAMPLES, **with_file)
    app.command(run_.run, usage=run_.USAGE, help_epilogue=run_.EXAMPLES, **with_file)
    app.command(check.check, help_epilogue=check.EXAMPLES, config=environment, help_formatter=in_groups)
    app.command(plan.plan, help_epilogue=plan.EXAMPLES, config=environment, help_formatter=ungrouped)
    app.command(prices.prices, help_epilogue=prices.EXAMPLES, config=environment, help_formatter=ungrouped)
    app.command(batch.batch, help_epilogue=batch.EXAMPLES, config=environment, help_formatter=in_groups)
    on_journals = (status.status, watch.watch, results.results, cancel.cancel, reconcile.reconcile, forget.forget)
    app.command(receipt.receipt, help_epilogue=receipt.EXAMPLES, config=environment, help_formatter=ungrouped)
    for command in on_journals:
        app.command(command, help_epilogue=_examples_of(command), config=environment, help_formatter=in_groups)
    app.command(make_journal_app())
    return app


def _examples_of(command: Callable[..., int]) -> str:
    examples: str = sys.modules[command.__module__].EXAMPLES
    return examples


def run(arguments: list[str]) -> int:
    """Run one command; see `main` for the exit codes. Errors of usage are one line on stderr."""
    try:
        code = make_app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _refuse(explained(error, arguments), error.command_chain or ())
    except UsageError as error:
        return _refuse(str(error), arguments[:1], error.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseExceptionGroup as group:  # it came just before the command took signals
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _write_nowhere()
        return READER_IS_GONE
    return code if isinstance(code, int) else 0


def _write_nowhere() -> None:
    """Discard further output, so that the flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(reason: str, command: Sequence[str], code: int = 2) -> int:
    name = " ".join(("autobatcher", *command))
    print_notice(f"{name}: {without_url_secrets(' '.join(reason.split()))} (see {name} --help)")
    return code
