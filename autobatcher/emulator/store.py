"""Stores files in a temporary directory of limited size."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

# Small files stay in memory, so that a test with a handful of lines never touches the disk.
SMALL_BYTES = 64 * 1024
MEMORY_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


class StoreFullError(Exception):
    """There is no room left, even after evicting every unused file."""


class Store:
    """At most `max_bytes` of files; the oldest unused files are evicted first.

    The directory is made for the first large file and removed by `close()`, or when the store is garbage collected.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self.memory_bytes = 0
        self._blobs: dict[int, Blob] = {}
        self._next_number = 0
        self._directory: Path | None = None
        self._cleanup: weakref.finalize[[str, bool], Store] | None = None

    def new(self, content: bytes = b"", *, pinned: bool = False) -> Blob:
        """A new file. A pinned one is never evicted. Raises `StoreFullError`."""
        self.make_room(len(content))
        self._next_number += 1
        blob = Blob(self, self._next_number, pinned=pinned)
        self._blobs[blob.number] = blob
        blob.append(content)
        return blob

    def make_room(self, size: int) -> None:
        """Evicts old files until `size` more bytes fit. Raises `StoreFullError` if they cannot."""
        if self.held_bytes + size <= self.max_bytes:
            return
        for blob in list(self._blobs.values()):
            if self.held_bytes + size <= self.max_bytes:
                return
            if not blob.pinned:
                blob.remove()
        if self.held_bytes + size > self.max_bytes:
            raise StoreFullError(f"{size} more bytes do not fit: {self.held_bytes} of {self.max_bytes} are in use")

    def forget(self, blob: Blob) -> None:
        self._blobs.pop(blob.number, None)

    def directory(self) -> Path:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="autobatcher-emulator-"))
            self._cleanup = weakref.finalize(self, shutil.rmtree, str(self._directory), True)
        return self._directory

    def close(self) -> None:
        """Removes every file and the directory. Closing twice is harmless."""
        for blob in list(self._blobs.values()):
            blob.remove()
        if self._cleanup is not None:
            self._cleanup()
        self._directory = self._cleanup = None


class Blob:
    """The bytes of one file: in memory while small, on disk once large; `gone` after it was removed."""

    def __init__(self, store: Store, number: int, *, pinned: bool) -> None:
        self.number = number
        self.pinned = pinned
        self.size: int = 0
        self.gone: bool = False
        self._store = store
        self._memory: bytearray | None = bytearray()

    def append(self, content: bytes) -> None:
        """Appends bytes. Raises `StoreFullError` when there is no room; a removed blob ignores them."""
        if self.gone or not content:
            return
        self._store.make_room(len(content))
        if self._memory is not None and not self._fits_in_memory(len(content)):
            self._move_to_disk()
        if self._memory is None:
            with self._path().open("ab") as file:
                file.write(content)
        else:
            self._memory += content
            self._store.memory_bytes += len(content)
        self.size += len(content)
        self._store.held_bytes += len(content)

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` to `stop` (the end, if None). Empty if the blob is gone."""
        stop = self.size if stop is None else min(stop, self.size)
        if self.gone or start >= stop:
            return b""
        if self._memory is not None:
            return bytes(self._memory[start:stop])
        with self._path().open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """The same in pieces of `CHUNK_BYTES`."""
        for position in range(start, stop, CHUNK_BYTES):
            yield self.read(position, min(stop, position + CHUNK_BYTES))

    def cut(self, size: int) -> None:
        """Keeps the first `size` bytes only."""
        kept = self.read(0, size)
        self._empty()
        self.append(kept)

    def remove(self) -> None:
        if not self.gone:
            self._empty()
            self.gone = True
            self._store.forget(self)

    def _empty(self) -> None:
        self._store.held_bytes -= self.size
        if self._memory is not None:
            self._store.memory_bytes -= self.size
        else:
            self._path().unlink(missing_ok=True)
        self._memory = bytearray()
        self.size = 0

    def _fits_in_memory(self, more: int) -> bool:
        return self.size + more <= SMALL_BYTES and self._store.memory_bytes + more <= MEMORY_BYTES

    def _move_to_disk(self) -> None:
        assert self._memory is not None
        self._path().write_bytes(self._memory)
        self._store.memory_bytes -= self.size
        self._memory = None

    def _path(self) -> Path:
        return self._store.directory() / str(self.number)
