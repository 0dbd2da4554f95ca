"""The emulator in a thread, as the fixture `batch_upstream` and without pytest."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from autobatcher.emulator import BatchUpstream, FaultPlan, HttpFault
from tests.cli.processes import environment

pytestmark = pytest.mark.real_time

PAGE = (Path(__file__).parents[2] / "docs" / "emulator.md").read_text(encoding="utf-8")

A_STRANGERS_RUN = """
import sys, pytest, autobatcher_pytest
heavy = {"autobatcher", "anyio", "openai", "httpx"} & set(sys.modules)
assert not heavy, f"the plugin imports {heavy}"
del sys.modules["autobatcher_pytest"]  # pytest warns of one that it has not imported itself
sys.exit(pytest.main(["-q", "--strict-markers", "-p", "no:cacheprovider", "test_example.py"]))
"""


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def test_the_pages_test_passes_in_a_project_of_a_stranger_and_the_plugin_imports_nothing(tmp_path: Path) -> None:
    (example,) = re.findall(r"<!-- example: pytest -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "test_example.py").write_text(example, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", A_STRANGERS_RUN], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.batch_upstream(api_key="right")
def test_the_mark_has_the_settings(batch_upstream: BatchUpstream) -> None:
    assert status(f"{batch_upstream.base_url}/models") == 401


def test_faults_count_from_when_they_are_set(batch_upstream: BatchUpstream) -> None:
    models = f"{batch_upstream.base_url}/models"
    assert status(models) == 200
    batch_upstream.faults = plan = FaultPlan((HttpFault(operation="models", nth=(2,), status=503),))
    assert [status(models) for _ in range(3)] == [200, 503, 200]
    assert batch_upstream.faults is plan
    batch_upstream.faults = plan
    assert [status(models) for _ in range(2)] == [200, 503]
    assert batch_upstream.statistics().http_calls == {"models": 6}


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "autobatcher.emulator.app", None)
    with pytest.raises(ImportError, match=r"pip install 'autobatcher\[serve\]>=1'"), BatchUpstream():
        pass


def test_nobody_listens_after_it() -> None:
    with BatchUpstream() as upstream:
        models = f"{upstream.base_url}/models"
        assert status(models) == 200
    with pytest.raises(urllib.error.URLError):
        status(models)
    with pytest.raises(RuntimeError, match="with"):
        upstream.bill()
