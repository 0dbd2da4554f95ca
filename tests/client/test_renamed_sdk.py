"""When the SDK renames something private, calls go through the SDK and none fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import autobatcher.client

CLIENT = Path(autobatcher.client.__file__).parent
NIGHTLY = pytest.mark.nightly  # each takes seconds
NAMES = {
    *(
        "add_request_id",
        "construct_type",
        "_client",
        "_custom_headers",
        "_extra_kwargs",
        "_post",
        "_strict_response_validation",
    ),
    *("_prepare_request", "_prepare_options", "_build_request", "_process_response", "_transport"),
}


@pytest.mark.real_time
@pytest.mark.parametrize("name", ["_prepare_options", *(pytest.param(name, marks=NIGHTLY) for name in sorted(NAMES))])
def test_calls_are_answered_by_an_sdk_in_which_a_private_name_is_another(name: str) -> None:
    assert_answered(name)


@pytest.mark.real_time
def test_calls_are_answered_by_an_sdk_in_which_every_private_name_is_another() -> None:
    assert_answered("|".join(sorted(NAMES)))


def assert_answered(name: str) -> None:
    program = [sys.executable, "-m", "tests.client.renamed_sdk", name]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [["x", True, "y", "z", "a", ["a"]], ["x", "y"]]


def test_one_file_knows_the_sdks_private_names() -> None:
    ours_too = {"_client", "_transport", "add_request_id", "construct_type"}
    pattern = re.compile(r"openai\._|httpx2?\._|\b(" + "|".join(NAMES - ours_too) + r")\b")
    knowing = {path.name for path in CLIENT.rglob("*.py") if pattern.search(path.read_text())}
    assert knowing == {"sdk_internals.py"}
