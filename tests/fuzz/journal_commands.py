"""The commands on a journal, and the library's opening of one, in a process that does nothing else."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import shutil
import sqlite3
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import openai

import autobatcher.cli.app  # imported before the fork: it takes a second
from autobatcher import BatchOpenAI, EngineError
from autobatcher.cli import main

from . import process
from .defects import reported_defects
from .findings import place_of
from .journal_files import BODY, KEY, MUTATIONS

MEMORY_BYTES = 300_000_000
ADDRESS_BYTES = 6_000_000_000
"""Where the kernel stops a process before the machine suffers."""

LIBRARY_SECONDS = 3.0
LIBRARY = ("library",)
READING = ("status", "results", "watch", "cancel")
"""These leave every file as it is."""

COMMANDS: tuple[tuple[str, ...], ...] = (
    *(("status",), ("status", "--json"), ("status", "--upstream"), ("results",), ("results", "--json")),
    *(("watch", "--json", "--interval", "0.01"), ("cancel", "--all"), ("reconcile",), ("reconcile", "--json")),
    *(("forget", "--taken"), ("forget", "--all", "--force"), ("forget", "--older-than", "1d"), LIBRARY),
)

Tell = Callable[[str, str, str], None]


@dataclass(frozen=True)
class JournalCase:
    """A file, by its mutations and their seeds, and the commands it is given to."""

    mutations: tuple[tuple[str, int], ...]
    commands: tuple[tuple[str, ...], ...]


def tell_all(case: JournalCase, template: Path, folder: Path, url: str, telling: Any) -> None:
    """Carry out a case in a folder of its own, and send what is wrong as (kind, where, text)."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))

    def tell(kind: str, where: str, text: str) -> None:
        telling.send((kind, where, text))

    with reported_defects(tell):
        for number, command in enumerate(case.commands):
            path = folder / str(number) / "journal.sqlite3"
            path.parent.mkdir(mode=0o700)
            tell("begins", "the mutations", "")
            is_foreign = _make(case, template, path)
            tell("begins", command[0], "")
            _carry_out(command, path, url, is_foreign, tell)
            shutil.rmtree(path.parent)
    telling.close()


def _make(case: JournalCase, template: Path, path: Path) -> bool:
    """Make the file anew; whether it is somebody else's."""
    shutil.copy(template, path)
    path.chmod(0o600)
    is_foreign = any(name == "foreign" for name, _ in case.mutations)
    for name, seed in case.mutations:
        if is_foreign and name != "foreign":
            continue
        try:
            MUTATIONS[name](path, Random(seed))
        except (sqlite3.Error, OSError, ValueError):
            break  # one mutation has left nothing for the next
    gc.collect()  # a connection that failed is closed now, and writes nothing later
    return is_foreign


def _carry_out(command: tuple[str, ...], path: Path, url: str, is_foreign: bool, tell: Tell) -> None:
    before = _state(path)
    process.tidy()
    resident = process.resident_bytes()
    process.reset_peak()
    try:
        wrong = anyio.run(_open_by_library, path, url) if command == LIBRARY else _run(command, path, url)
    except BaseException as error:
        wrong = f"raised {place_of(error)}", "".join(traceback.format_exception(error))
    taken = process.peak_bytes() - resident
    if wrong is not None:
        tell("journal", f"{command[0]}: {wrong[0]}", wrong[1])
    if (is_foreign or command[0] in READING) and _state(path) != before:
        tell("changed", command[0], f"the file was changed: {before} {_state(path)}")
    if taken > MEMORY_BYTES:
        tell("memory", command[0], f"{taken / 1e6:.0f} MB")


def _state(path: Path) -> tuple[object, ...]:
    """What must stay of a file that is only read: its kind, mode, times and content."""
    found = os.lstat(path) if os.path.lexists(path) else None
    if found is None:
        return ("missing",)
    return found.st_mode, found.st_size, hash(path.read_bytes()) if path.is_file() else None


def _run(command: tuple[str, ...], path: Path, url: str) -> tuple[str, str] | None:
    """What is wrong with what the command says; None if nothing is."""
    upstream = () if command[0] in ("results", "forget") else ("--base-url", url, "--api-key", KEY)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*command, "--journal", str(path), *upstream])
    said = out.getvalue(), err.getvalue()
    shown = f"exit code {code}\n{said[0][:1000]}\n{said[1][:2000]}"
    if code not in (0, 1, 2):
        return f"exit code {code}", shown
    if code == 2 and len(said[1].splitlines()) != 1:
        return "exit code 2 without one line that says why", shown
    if any((ord(letter) < 32 and letter != "\n") or letter == "\x7f" for letter in said[0] + said[1]):
        return "control characters", repr(shown)
    if "--json" in command and not all(map(_is_json, said[0].splitlines())):
        return "lines that are no JSON", shown
    return None


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


async def _open_by_library(path: Path, url: str) -> tuple[str, str] | None:
    """A client that asks what the journal has, and something else. Each call ends, with an answer or a known error."""
    outcomes: list[tuple[str, str] | None] = []
    async with openai.DefaultAsyncHttpxClient(trust_env=False) as http:
        client = BatchOpenAI(
            base_url=url,
            api_key=KEY,
            http_client=http,
            journal=path,
            batch_window_seconds=0.05,
            poll_interval_seconds=0.1,
            cancel_active_batches_on_close=False,
        )
        try:
            async with client, anyio.create_task_group() as callers:
                for number in (0, 1, 99):
                    callers.start_soon(partial(_call, client, number, outcomes))
        except openai.APIError as error:
            outcomes.append(_judged(error))
    return next((outcome for outcome in outcomes if outcome is not None), None)


async def _call(client: BatchOpenAI, number: int, outcomes: list[tuple[str, str] | None]) -> None:
    try:
        body = json.loads(BODY % number)
        await client.embeddings.create(**body, encoding_format="float", timeout=LIBRARY_SECONDS)
    except Exception as error:
        outcomes.append(_judged(error))


def _judged(error: BaseException) -> tuple[str, str] | None:
    if isinstance(error, openai.APIError) and not isinstance(error, EngineError):
        return None
    return place_of(error.__cause__ or error), "".join(traceback.format_exception(error))


assert sys.platform == "linux", "limits of processes and their memory are read as Linux tells them"
assert autobatcher.cli.app is not None
