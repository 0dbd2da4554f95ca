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
