"""Workers on many machines share a journal: as Ray, Dask or Airflow run them, and kill them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.fleet.upstream import Found, found_by, upstream
from tests.fleet.workers import Job, run, wrongly_billed


def work(folder: Path, journal: Callable[[int], str], *, seed: int) -> tuple[Job, list[str], Found]:
    """Eight workers, killed up to three times each: what they failed at, and what the upstream found."""

    async def main() -> tuple[Job, list[str], Found]:
        async with upstream(1.0, 3.0) as url:
            job = Job(seed, 8, 40, 3, f"{url}/v1", journal, folder)
            failures = await run(job)
            return job, failures, await found_by(url)

    return trio.run(main)


@pytest.mark.real_time
@pytest.mark.timeout(300)
def test_each_text_of_eight_workers_is_billed_once_however_often_they_are_killed(
    postgres_url: str, tmp_path: Path
) -> None:
    job, failures, found = work(tmp_path, lambda number: postgres_url, seed=20)
    assert not failures
    assert not wrongly_billed(job, found.billed)
    assert not found.running
    assert not found.input_files


@pytest.mark.real_time
@pytest.mark.timeout(300)
@pytest.mark.nightly
def test_without_a_journal_they_are_billed_again(tmp_path: Path) -> None:
    """So that the test above is known to be able to fail."""
    job, failures, found = work(tmp_path, lambda number: "", seed=20)
    assert not failures
    assert wrongly_billed(job, found.billed)
