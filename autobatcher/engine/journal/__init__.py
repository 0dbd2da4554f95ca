"""The journal: what survives a crash of this process.

journal.py      `Journal`, the interface for the engine               ◄ start here; imported only if used
records.py      records of batches, lines and answers
file.py         the file for everybody but an engine, such as the command line
store.py        all SQL; synchronous
sweep.py        deletes what is needed no longer, little by little
rows.py         what its rows become
responses.py    responses of the proxy that are made in the background; response_rows.py: their statements
sqlite_file.py  the SQLite connection and its transactions
file_checks.py  whose file it is: before it is opened
row_checks.py   what is in its rows: when it is opened
schema.py       the tables, and migrations of older files
ownership.py    one engine at a time
contract.py     what a store must do, whatever keeps it
owned_file.py   the file that this process owns
writer.py       the thread that writes; groups statements into transactions
transactions.py what happens if a statement or a commit fails
identity.py     how a request is recognised after a restart: pure
at_exit.py      which processes ended well, so that their answers need not be kept
"""

from .records import BatchRecord, Contents, SessionEnding, UnclaimedLine

__all__ = ["BatchRecord", "Contents", "SessionEnding", "UnclaimedLine"]
