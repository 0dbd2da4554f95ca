"""The notebook is executed as it stands. `nox -s notebook` has what that needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"

pytestmark = pytest.mark.real_time


def texts(cell: Any) -> list[str]:
    """What a cell shows, as text."""
    return [output["data"]["text/plain"] for output in cell.get("outputs", []) if "data" in output]


@pytest.mark.filterwarnings("ignore")  # those of the packages that run notebooks
def test_the_notebook_runs_and_shows_its_progress_where_the_cell_is() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = [texts(cell) for cell in notebook.cells if cell.cell_type == "code"]
    progress, result = outputs[1]
    assert progress.startswith("40 of 40 calls answered")
    assert "batch 1" in progress
    assert result.startswith("(40, ")
    assert outputs[4] == ["(10, 0, 1, True)"]
    assert not [each for cell in notebook.cells for each in cell.get("outputs", []) if each.output_type == "stream"]


INTERRUPTED = """
import asyncio, os, signal
from autobatcher import BatchOpenAI
from autobatcher.emulator import Emulator

emulator = Emulator(batch_seconds=60)
asyncio.get_running_loop().call_later(1.0, os.kill, os.getpid(), signal.SIGINT)
async with BatchOpenAI(
    api_key="k", base_url="http://emulator.test/v1", http_client=emulator.http_client(), batch_window_seconds=0.1
) as client:
    await client.responses.create(model="m", input="hello")
"""


@pytest.mark.filterwarnings("ignore")
def test_interrupting_a_cell_says_what_became_of_its_batches() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(INTERRUPTED)])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3", allow_errors=True).execute()
    said = "".join(each.text for each in notebook.cells[0].outputs if each.output_type == "stream")
    assert "autobatcher: interrupted. 0 of 1 calls answered, 1 cancelled. Cancelled upstream: batch " in said
