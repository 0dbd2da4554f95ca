"""A file of calls in, a file of answers out: `autobatcher batch` beside others who do that.

Each is a process of its own, counted from its start to its end: `per_s` is lines a second, `cpu_us` CPU for each line,
and `peak_mb` the most that was resident. The upstream answers at once.

    python benchmarks/many.py [--rounds N] [--count N] [--environment NAME=PYTHON]

`sdk-script` and batchwizard send the file as it is, in one batch, and write what comes back without looking at it: they
split nothing and resume nothing. For the largest file:

    python benchmarks/many.py --one batch --count 5000000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rounds import HERE, Contender, argument_parser, run_rounds, upstream_process
from spent import versions

COUNT = 50_000


def main() -> None:
    options = _options()
    if options.one is None:
        run_rounds(__file__, "many", contenders(options.count), options)
    else:
        print(json.dumps({**one(options.one, options.count), "versions": versions()}))


def _options() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--one")
    return parser.parse_args()


def contenders(count: int) -> Iterator[Contender]:
    arguments = ["--count", str(count)]
    yield Contender("batch", arguments=arguments)
    yield Contender("sdk-script", arguments=arguments)
    yield Contender("batchwizard", "batchwizard-0.5.0", arguments)


def command_of(name: str, source: Path, out: Path) -> list[str]:
    """What this contender's user types, for the Python that runs this."""
    python = sys.executable
    return {
        "batch": [python, "-m", "autobatcher", "batch", str(source), "-o", str(out), "--poll-interval", "0.05"],
        "sdk-script": [python, str(HERE / "sdk_script.py"), str(source), str(out)],
        "batchwizard": [
            *(str(Path(python).with_name("batchwizard")), "process", str(source)),
            *("--output-directory", str(out), "--check-interval", "0"),
        ],
    }[name]


def one(name: str, count: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory, upstream_process() as base_url:
        source, out = Path(directory) / "in.jsonl", Path(directory) / "out"
        write_input(source, count)
        variables = {**os.environ, "OPENAI_API_KEY": "any", "OPENAI_BASE_URL": base_url, "HOME": directory}
        begun, before = time.monotonic(), _cpu_seconds()
        done = subprocess.run(
            command_of(name, source, out), env=variables, cwd=directory, capture_output=True, text=True, check=False
        )
        wall, cpu = time.monotonic() - begun, _cpu_seconds() - before
        peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # before the upstream ends, which has more
        answered = sum(_lines_of(each) for each in ([out] if out.is_file() else out.rglob("*.jsonl")))
        if done.returncode or answered != count:
            raise SystemExit(f"{name}: {answered:,} of {count:,} answered\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {
        "count": count,
        "per_s": round(count / wall),
        "wall_s": round(wall, 2),
        "cpu_us": round(cpu * 1e6 / count, 1),
        "peak_mb": round(peak_kb / 1e3),
    }


def write_input(source: Path, count: int) -> None:
    with source.open("w") as file:
        for number in range(count):
            messages = [{"role": "user", "content": f"caller-{number}."}]
            line = {"custom_id": f"c-{number}", "method": "POST", "url": "/v1/chat/completions"}
            file.write(json.dumps({**line, "body": {"model": "m", "messages": messages}}) + "\n")


def _lines_of(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _cpu_seconds() -> float:
    """Of all processes that were started here and have ended: the upstream still runs."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main()
