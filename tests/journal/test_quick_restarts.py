"""A journal that is opened while an earlier engine closes it, or deletes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autobatcher.engine.journal.file import delete_journal
from autobatcher.engine.journal.owned_file import OwnedFile
from autobatcher.errors import JournalInUseError

END_WHILE_OPENED = """
import sys
from pathlib import Path

from autobatcher.engine.journal.owned_file import OwnedFile
from autobatcher.engine.journal.sqlite_file import examine

path = Path(sys.argv[1])
first = OwnedFile(path)
first.begin_session("first", now=1.0)
with first.transaction():
    first._db.execute("INSERT INTO lines VALUES (1, x'00', '/v1/embeddings', zeroblob(2000000))")
left = [first]


def end_first(event, arguments):
    if left and event == "sqlite3.connect" and "immutable" in str(arguments[0]):
        looking.append(1)
    elif left and event == "sqlite3.connect/handle" and looking:
        left.pop().close()


looking = []
sys.addaudithook(end_first)
%s
assert not left
"""


@pytest.mark.parametrize("look", ["examine(path, checks_rows=True)", "OwnedFile(path).close()"])
def test_a_journal_whose_engine_ends_while_another_looks_at_it_is_not_taken_for_damaged(
    look: str, tmp_path: Path
) -> None:
    program = [sys.executable, "-c", END_WHILE_OPENED % look, str(tmp_path / "journal")]
    subprocess.run(program, check=True, timeout=60)


@pytest.mark.proves("faults", "`autobatcher batch` begins again on an output while another run on it ends")
def test_a_journal_that_the_next_engine_has_taken_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    taken = OwnedFile(path)
    with pytest.raises(JournalInUseError):
        delete_journal(path)
    taken.check_in_place()
    taken.close()
    delete_journal(path)
    assert not [*tmp_path.iterdir()]


DELETE_WHILE_OPENED = """
import sys
from pathlib import Path

from autobatcher.engine.journal.file import delete_journal
from autobatcher.engine.journal.owned_file import OwnedFile

path = Path(sys.argv[1])
OwnedFile(path).close()
left = [path]


def delete_first(event, arguments):
    if left and event == "sqlite3.connect" and "immutable" in str(arguments[0]):
        delete_journal(left.pop())


sys.addaudithook(delete_first)
OwnedFile(path).close()
assert not left
"""


def test_a_journal_that_is_deleted_while_the_next_engine_looks_at_it_is_made_anew(tmp_path: Path) -> None:
    program = [sys.executable, "-c", DELETE_WHILE_OPENED, str(tmp_path / "journal")]
    subprocess.run(program, check=True, timeout=60)


DELETE_WHILE_LOCKED = """
import sys
from pathlib import Path

from autobatcher.engine.journal.ownership import Ownership
from autobatcher.errors import JournalInUseError

path = Path(sys.argv[1])
left = [Ownership(path)]


def delete_first(event, arguments):
    if left and event == "sqlite3.connect/handle":
        left.pop().release_and_delete()


sys.addaudithook(delete_first)
second = Ownership(path)
assert not left
try:
    Ownership(path)
except JournalInUseError:
    sys.exit()
sys.exit("two own it")
"""


def test_who_waits_for_a_journal_that_is_deleted_owns_the_next_one_alone(tmp_path: Path) -> None:
    program = [sys.executable, "-c", DELETE_WHILE_LOCKED, str(tmp_path / "journal")]
    subprocess.run(program, check=True, timeout=60)
