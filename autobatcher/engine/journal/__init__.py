"""The journal: what survives a crash of this process.

journal.py    `Journal`, what the engine tells it and asks of it             ◄ start here; imported where one is used
records.py    what it holds of a batch, a line, an answer
file.py       the file for everybody but an engine: the command line, say
store.py      the SQLite file: every statement; synchronous
schema.py     its tables, and how an older file becomes one of today's
ownership.py  one engine at a time
writer.py     the one thread that writes: what gathers meanwhile goes into one transaction
identity.py   by which a request is recognised after a restart: pure
at_exit.py    which processes came to a good end, so that what they took need not be kept
"""

from .records import BatchRecord, Contents, SessionEnding, UnclaimedLine

__all__ = ["BatchRecord", "Contents", "SessionEnding", "UnclaimedLine"]
