"""`python -m tests.fuzz`: see the package. Exits with 1 if anything was found."""

from __future__ import annotations

import argparse
import os
import sys
import time

from autobatcher.money.library_prices import import_prices

from . import files, http1, http2, journal, process, upstream
from .session import Session
from .target import Target
from .watch import Watch

TARGETS: tuple[Target, ...] = (http1.target(), http2.target(), upstream.target(), journal.target(), files.target())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long, all targets together")
    parser.add_argument("--target", choices=[target.name for target in TARGETS], help="only this one")
    parser.add_argument("--seed", type=int, help="only the round with this seed")
    options = parser.parse_args()
    chosen = [target for target in TARGETS if options.target in (None, target.name)]
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "AUTOBATCHER_"))]:
        del os.environ[name]  # what the developer's shell says must not reach a target
    import_prices()  # as the doors do when they open, and not in the midst of a round
    process.give_back_what_is_freed()
    begun = time.monotonic()
    with Watch() as watch:
        session = Session(watch)
        if options.seed is None:
            session.run(chosen, options.seconds)
        else:
            for target in chosen:
                session.repeat(target, options.seed)
    return _tell(session, time.monotonic() - begun)


def _tell(session: Session, seconds: float) -> int:
    for message, count in session.watch.warnings.most_common(5):
        print(f"logged {count} times: {message}")
    rounds = ", ".join(f"{name} {count}" for name, count in session.rounds.items())
    print(f"{seconds:.0f} s, rounds: {rounds}; the longest block took {session.watch.loop.longest * 1000:.0f} ms")
    for (kind, where), count in session.found.most_common():
        print(f"FOUND {kind}: {where} ({count} rounds)")
    print("nothing was found" if not session.found else f"{len(session.found)} findings")
    return 1 if session.found else 0


if __name__ == "__main__":
    sys.exit(main())
