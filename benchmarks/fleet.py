"""What does a journal that replicas share cost, and how much more do they answer?

    python benchmarks/fleet.py [--rounds N] [--requests N]
    python benchmarks/fleet.py --one postgres-2 [--requests N]

One, two and three `autobatcher serve`, without a journal, with one on SQLite (one replica alone can have that) and with
one on PostgreSQL that all share. The server is started here, and is durable: a commit waits for the disk. Requests of
1 KB come over keep-alive connections, ten on each, one after the other, as many to each replica; there is no load
balancer between. `per_s` is requests a second, `cpu_us` the CPU time of all replicas for each, `database_cpu_us` that
of PostgreSQL, and `journal_mb` what the journal takes on disk for a million of them, right after they were answered.

The clients, the upstream and PostgreSQL run on the same machine: replicas can only be faster together than alone where
there are cores for all of them. The result says how many there are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from load import all_answered, connect_all
from rounds import Contender, argument_parser, run_rounds, upstream_process
from served import Served, raise_file_limit, served
from spent import versions

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.postgres_server import PostgresServer, find_programs, running_server

KINDS = {"off": (1, 2, 3), "sqlite": (1,), "postgres": (1, 2, 3)}
REQUESTS = 50_000
EACH = 10
"""Requests on one connection."""

BATCH_SIZE = 1_000
WARM_UP = 200


@dataclass
class Journal:
    """Where the replicas keep their batches, and what that takes.

    Attributes:
        flags: for `serve`.
        server: PostgreSQL, if it is there.
        folder: of the file, if it is one.
    """

    flags: Sequence[str] = field(default=())
    server: PostgresServer | None = None
    folder: Path | None = None

    def cpu_seconds(self) -> float:
        """Of PostgreSQL's processes, also those that have ended."""
        return 0.0 if self.server is None else _cpu_seconds_of_family(self.server.pid)

    def size_mb(self) -> float:
        if self.server is not None:
            return float(self.server.execute("SELECT pg_database_size(current_database())")[0][0]) / 1e6
        return 0.0 if self.folder is None else sum(each.stat().st_size for each in self.folder.iterdir()) / 1e6


@contextmanager
def opened(kind: str) -> Iterator[Journal]:
    if kind == "postgres":
        programs = find_programs()
        assert programs is not None, "PostgreSQL's server is not installed"
        with running_server(programs, fsync="on", full_page_writes="on", shared_buffers="128MB") as server:
            yield Journal(("--journal", server.url("autobatcher")), server)
    elif kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield Journal(("--journal", f"{folder}/journal.sqlite3"), folder=Path(folder))
    else:
        yield Journal()


def measure(kind: str, count: int, requests: int) -> dict[str, Any]:
    with opened(kind) as journal, upstream_process() as base_url, ExitStack() as stack:
        flags = [*_flags(base_url, min(BATCH_SIZE, requests // EACH // count)), *journal.flags]
        replicas = [stack.enter_context(served(sys.executable, flags)) for _ in range(count)]
        asyncio.run(_call(replicas, 1, WARM_UP))
        empty, wall = journal.size_mb(), time.monotonic()
        cpu, database = _cpu(replicas), journal.cpu_seconds()
        asyncio.run(_call(replicas, EACH, requests))
        wall = time.monotonic() - wall
        cpu, database = _cpu(replicas) - cpu, journal.cpu_seconds() - database
        size = journal.size_mb() - empty
    return {
        "replicas": count,
        "requests": requests,
        "per_s": round(requests / wall),
        "wall_s": round(wall, 2),
        "cpu_us": round(cpu / requests * 1e6, 1),
        "database_cpu_us": round(database / requests * 1e6, 1),
        "journal_mb": round(size / requests * 1e6),
    }


async def _call(replicas: Sequence[Served], each: int, requests: int) -> None:
    """As many of the requests to each replica."""
    series = [range(start, start + each) for start in range(0, requests, each)]
    calls = (_call_one(replica, series[index :: len(replicas)]) for index, replica in enumerate(replicas))
    await asyncio.gather(*calls)


async def _call_one(replica: Served, series: Sequence[range]) -> None:
    await all_answered(await connect_all(replica.port, series))


def _flags(base_url: str, batch_size: int) -> list[str]:
    times = ["--batch-window", "0.5", "--poll-interval", "0.05"]
    return ["--base-url", base_url, "--batch-size", str(batch_size), *times]


def _cpu(replicas: Sequence[Served]) -> float:
    return sum(replica.cpu_seconds() for replica in replicas)


def _cpu_seconds_of_family(pid: int) -> float:
    """User and system time of a process, of its children, and of those that it has waited for."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == pid:
            ticks += int(fields[11]) + int(fields[12])
        elif stat.parent.name == str(pid):
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argument_parser(__doc__, rounds=3)
    parser.add_argument("--one", metavar="KIND-REPLICAS", help="measure this one once, here")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    options = parser.parse_args()
    if options.one is None:
        run_rounds(__file__, "fleet", _contenders(options), options)
        return
    raise_file_limit()
    kind, _, count = options.one.partition("-")
    found = measure(kind, int(count), options.requests)
    print(json.dumps({**found, "cores": os.cpu_count(), "versions": {**versions(), **_server_version(kind)}}))


def _contenders(options: argparse.Namespace) -> Iterator[Contender]:
    for kind, counts in KINDS.items():
        for count in counts:
            yield Contender(f"{kind}-{count}", arguments=["--requests", str(options.requests)])


def _server_version(kind: str) -> dict[str, str]:
    programs = find_programs()
    if kind != "postgres" or programs is None:
        return {}
    told = os.popen(f"{programs / 'postgres'} --version").read()  # "postgres (PostgreSQL) 17.2"
    return {"postgresql": told.split()[2]}


if __name__ == "__main__":
    main()
