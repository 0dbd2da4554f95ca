"""`python -m tests.fleet --events 300 --clients 500 --seed 1`: a session of faults. Exits with 1 if it did not go well.

Three replicas of `serve` behind nginx share a journal on PostgreSQL. Clients with short timeouts ask until they have
their answer, while replicas are killed, stopped and updated, and the database fails. Each text must be answered, and
billed once. `nox -s fleet` runs it.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import trio

from .session import Plan, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--journal", choices=("postgres", "sqlite", "off"), default="postgres")
    parser.add_argument("--mean-gap", type=float, default=Plan.mean_gap, help="between events, in seconds")
    parser.add_argument("--longest", type=float, default=Plan.longest, help="no event lasts longer, in seconds")
    parser.add_argument("--shorten", action="store_true", help="look lost creations up for 0.3 s instead of 45")
    parser.add_argument("--stubborn", action="store_true", help="clients try again even if they are told not to")
    given = parser.parse_args()
    plan = Plan(
        seed=random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed,
        events=given.events,
        clients=given.clients,
        replicas=given.replicas,
        journal=given.journal,
        mean_gap=given.mean_gap,
        longest=given.longest,
        shortens=given.shorten,
        is_stubborn=given.stubborn,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends all that was started, as Ctrl-C does
    folder = Path(tempfile.mkdtemp(prefix="fleet-"))
    print(f"{plan}\nlogs: {folder}", flush=True)
    verdict = trio.run(run, plan, folder, lambda line: print(line, flush=True))
    if verdict.is_good:
        shutil.rmtree(folder)
    print("good" if verdict.is_good else f"NOT GOOD, see {folder}")
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
