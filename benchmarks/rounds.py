"""Paired rounds: each contender once in each round, in processes of their own, so that a noisy machine is noisy to all.

A benchmark is a script with two ways to start. `script.py --one NAME ...` measures one contender once, in the
environment whose Python runs it, and prints one JSON object. `script.py [--rounds N] [--environment NAME=PYTHON ...]`
runs all contenders in turn and appends the objects to `benchmarks/results.jsonl`, each with `measure`, `contender`,
`round`, `date`, `machine` and `environment`; `report.py` makes docs/performance.md of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
OURS = "ours"
"""The environment of this project; the others are named by the package and version in them ("autobatcher-0.6.0")."""


@dataclass(frozen=True)
class Contender:
    """One thing to measure.

    Attributes:
        environment: the name of the environment whose Python runs it.
        arguments: what the script's `--one` wants.
    """

    name: str
    environment: str = OURS
    arguments: Sequence[str] = field(default=())


def argument_parser(doc: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """With `--rounds`, `--environment` and `--results`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--environment", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def run_rounds(script: str, measure: str, contenders: Iterable[Contender], options: argparse.Namespace) -> None:
    """Run all contenders whose environment is there, round by round; tell each result, and append it to the file."""
    pythons = {OURS: sys.executable, **dict(each.split("=", 1) for each in options.environment)}
    able = [contender for contender in contenders if contender.environment in pythons]
    for number in range(options.rounds):
        # Every other round runs backwards, so that nobody always follows the same neighbour.
        for contender in able if number % 2 == 0 else reversed(able):
            command = [pythons[contender.environment], script, "--one", contender.name, *contender.arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            result = {"measure": measure, "contender": contender.name, "round": number, "machine": machine()}
            result |= {"date": date.today().isoformat(), "environment": contender.environment}
            result |= json.loads(done.stdout.splitlines()[-1])
            told = {name: value for name, value in result.items() if name not in ("machine", "date")}
            print(json.dumps(told), flush=True)
            with options.results.open("a") as file:
                file.write(json.dumps(result) + "\n")


def machine() -> dict[str, Any]:
    return {"cores": os.cpu_count(), "system": platform.system(), "architecture": platform.machine(), "cpu": _cpu()}


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


@contextmanager
def upstream_process(*arguments: str) -> Iterator[str]:
    """The base URL of an upstream that runs in a process of its own; see `upstream.py`."""
    command = [sys.executable, str(HERE / "upstream.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def spread(values: Sequence[float], digits: int = 0) -> str:
    """ "median (least-most)"."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"
