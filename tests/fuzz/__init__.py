"""Fuzzing: well-formed input of every door, mutated from a seed, while loops, memory and logs are watched.

`python -m tests.fuzz --seconds 60` runs all targets; `--target NAME --seed N` repeats one round.

    session.py     which rounds run, and what is done with a finding
    watch.py       what is watched: loop.py (blocks), process.py (memory, descriptors), defects.py (logs, hooks)
    leaks.py       what stays in use from visit to visit
    target.py      what a target is; findings.py: what it found; shrinking.py: fewer cases that show it
    mutation.py    JSON trees and bytes, mutated
    http1.py, http2.py, upstream.py, journal.py, files.py    the targets
    proxy.py       the door of http1 and http2; bodies.py: what its endpoints take
    lies.py        what the upstream's answers become
    journal_files.py, journal_commands.py    what journals become, and what is done with them
"""
