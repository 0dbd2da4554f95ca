"""Files are kept within bounds, and nothing is left behind."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path

import openai
import pytest

from autobatcher.emulator import Emulator
from autobatcher.emulator.store import SMALL_BYTES, Store, StoreFullError

from .doors import chat_line, create_batch, open_sdk, results

LARGE = SMALL_BYTES + 1


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made during the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_small_files_never_touch_the_disk_and_large_ones_are_removed(scratch: Path) -> None:
    store = Store(10 * LARGE)
    store.new(b"small")
    assert list(scratch.iterdir()) == []
    blob = store.new(b"x" * LARGE)
    assert [path.stat().st_size for path in scratch.rglob("*") if path.is_file()] == [LARGE]
    assert blob.read(LARGE - 2) == b"xx"
    store.close()
    store.close()
    assert list(scratch.iterdir()) == []
    assert (store.held_bytes, store.memory_bytes) == (0, 0)


def test_a_forgotten_store_cleans_up_after_itself(scratch: Path) -> None:
    store = Store(10 * LARGE)
    store.new(b"x" * LARGE)
    assert list(scratch.iterdir())
    del store
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_a_file_grows_out_of_memory_onto_the_disk(scratch: Path) -> None:
    store = Store(10 * LARGE)
    blob = store.new()
    for _ in range(3):
        blob.append(b"a" * (SMALL_BYTES // 2))
    blob.append(b"end")
    assert blob.read() == b"a" * (3 * (SMALL_BYTES // 2)) + b"end"
    assert b"".join(blob.chunks(1, blob.size)) == blob.read(1)
    blob.cut(5)
    assert (blob.read(), store.held_bytes) == (b"aaaaa", 5)
    store.close()


def test_the_oldest_file_goes_first_but_never_one_in_use() -> None:
    store = Store(100)
    pinned = store.new(b"p" * 40, pinned=True)
    oldest, newer = store.new(b"o" * 30), store.new(b"n" * 30)
    store.new(b"x" * 20)
    assert (oldest.gone, newer.gone, pinned.gone) == (True, False, False)
    with pytest.raises(StoreFullError, match="in use"):
        store.new(b"x" * 61)


async def test_an_upload_that_does_not_fit_is_refused() -> None:
    with Emulator(max_bytes=1000) as emulator:
        async with open_sdk(emulator) as sdk:
            with pytest.raises(openai.APIStatusError) as caught:
                await sdk.files.create(file=("x", b"x" * 1001), purpose="batch")
            assert caught.value.status_code == 413


async def test_a_batch_whose_answers_do_not_fit_fails_instead_of_growing() -> None:
    with Emulator(max_bytes=2000) as emulator:
        async with open_sdk(emulator) as sdk:
            batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(10)])
            ended = await sdk.batches.retrieve(batch.id)
            assert ended.status == "failed"
            assert ended.errors is not None
            assert (ended.errors.data or [])[0].code == "storage_limit_exceeded"


async def test_old_results_make_room_for_new_ones() -> None:
    with Emulator(max_bytes=20_000) as emulator:
        async with open_sdk(emulator) as sdk:
            for _ in range(20):
                batch = await create_batch(sdk, [chat_line(f"r{i}") for i in range(5)])
                assert len(await results(sdk, batch.id)) == 5
            assert 0 < len(emulator.statistics().file_ids) < 40
