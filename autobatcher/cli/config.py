"""Flags from the environment and from the file of --config. The command line wins."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cyclopts import App, Argument, ArgumentCollection, Token
from cyclopts.config import Env

from ..engine.spelling import nearest
from .config_file import values_for
from .flags import UsageError
from .output import print_notice

PREFIX = "AUTOBATCHER_"

MOST_BYTES = 1_000_000
"""So that a wrong path such as /dev/zero ends."""

COMMAND_LINE_ALONE = "it deletes, or widens what a command does, so give it on the command line."

Config = Callable[[App, tuple[str, ...], ArgumentCollection], None]


class Environment(Env):
    """Flags from AUTOBATCHER_* variables: --batch-seconds is AUTOBATCHER_BATCH_SECONDS."""

    def __init__(self, root: App) -> None:
        super().__init__(PREFIX, command=False)
        self._root = root

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        allowed = _configurable(arguments)
        _warn_of_unknown_variables(self._root, allowed)
        settable = (each for each in allowed if not _is_of_kubernetes(_variable(each)))
        super().__call__(app, commands, ArgumentCollection(settable))  # type: ignore[no-untyped-call]


def environment_and_file_of(root: App) -> Config:
    """The environment first, then the file of --config."""
    environment = Environment(root)

    def config(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        environment(app, commands, arguments)
        given = arguments.get("--config", None)
        if given is not None and given.tokens:
            _take_file(root, commands[-1], arguments, Path(given.tokens[0].value))

    return config


def _take_file(root: App, command: str, arguments: ArgumentCollection, path: Path) -> None:
    document = _read(path)
    flags = {name: _by_key(known) for name, known in _arguments_of_all(root) if known.get("--config", None) is not None}
    for key, values in values_for(document, command, flags, path).items():
        argument = _by_key(arguments)[key]
        if not argument.tokens:
            for index, value in enumerate(values):
                argument.append(Token(keyword=f"{key} in {path}", value=value, index=index))


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UsageError(f"--config: {path} is larger than any such file: {MOST_BYTES:,} bytes at most.")
        return tomllib.loads(content.decode())
    except (OSError, ValueError) as error:
        raise UsageError(f"--config: cannot read {path}: {error}.") from error


def _by_key(arguments: ArgumentCollection) -> dict[str, Argument]:
    """The arguments that a file may set, by key."""
    return {each.name.removeprefix("--"): each for each in _configurable(arguments) if each.name != "--config"}


def _configurable(arguments: Iterable[Argument]) -> ArgumentCollection:
    """The arguments that a variable or a file may set."""
    return ArgumentCollection(  # type: ignore[no-untyped-call]
        each for each in arguments if each.index is None and each.name.startswith("--") and each.parameter.show_env_var
    )


def _arguments_of_all(root: App) -> Iterator[tuple[str, ArgumentCollection]]:
    """Each command that reads flags from the environment or a file, with its arguments."""
    for name in root:
        if root[name].config:
            yield name, root[name].assemble_argument_collection()


def _warn_of_unknown_variables(root: App, arguments: ArgumentCollection) -> None:
    """Print a line on stderr for each AUTOBATCHER_* variable that is no flag of any command."""
    given = {name for name in os.environ if name.startswith(PREFIX) and not _is_of_kubernetes(name)}
    unknown = given - _variables(arguments)
    if not unknown:
        return
    everything = [each for _, others in _arguments_of_all(root) for each in others]
    known, all_variables = _variables(_configurable(everything)), _variables(everything)
    for name in sorted(unknown - known):
        why = COMMAND_LINE_ALONE if name in all_variables else f"there is no such flag{_did_you_mean(name, known)}"
        print_notice(f"autobatcher: warning: {name} is ignored: {why}")


def _did_you_mean(variable: str, known: set[str]) -> str:
    close = nearest(variable.removeprefix(PREFIX), (name.removeprefix(PREFIX) for name in known))
    return "." if close is None else f"; did you mean {PREFIX}{close}?"


def _variables(arguments: Iterable[Argument]) -> set[str]:
    return {_variable(each) for each in arguments}


def _variable(argument: Argument) -> str:
    return PREFIX + argument.name.removeprefix("--").replace("-", "_").upper()


def _is_of_kubernetes(variable: str) -> bool:
    """Whether Kubernetes has set it, as it does in every pod beside a Service whose name begins with ours.

    A Service named autobatcher makes AUTOBATCHER_PORT=tcp://10.0.0.1:80, which is no --port.
    """
    if _SERVICE_LINK.search(variable):
        return True
    return variable.endswith("_PORT") and os.environ.get(variable, "").startswith(("tcp://", "udp://", "sctp://"))


_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
