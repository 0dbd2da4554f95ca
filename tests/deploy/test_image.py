"""The Dockerfile makes an image without secrets, whose program is no root and writes nothing but its journal."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from tests.cli.processes import emulator, environment, run_here
from tests.deploy.dockerfile import instructions, last_stage, variables

ROOT = Path(__file__).parents[2]
FOUND = instructions(ROOT / "deploy" / "Dockerfile")
STAGE = last_stage(FOUND)
JOURNAL = variables(STAGE)["AUTOBATCHER_JOURNAL"]

READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,ro,bind / && shift && exec "$@"'
"""For `sh`: all of the root file system becomes read-only but one folder."""


def said(name: str) -> list[str]:
    """The arguments of the one instruction of the image with this name."""
    (found,) = (each for each in STAGE if each.name == name)
    return found.words


def can_unshare() -> bool:
    command = ["unshare", "--mount", "mount", "-o", "remount,ro,bind", "/"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


def test_each_base_image_has_a_version_down_to_the_minor_one_and_is_slim() -> None:
    bases = [each.words[0] for each in FOUND if each.name == "FROM"]
    assert bases
    assert all(re.fullmatch(r"python:3\.\d+-slim(-\w+)?", base) for base in bases)


def test_the_program_is_started_by_number_as_no_root_and_without_a_shell() -> None:
    (user,) = said("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)  # Kubernetes' runAsNonRoot knows no names
    starts = [each for each in STAGE if each.name in ("ENTRYPOINT", "CMD")]
    assert [each.text[0] for each in starts] == ["[", "["]  # a shell would keep SIGTERM


def test_only_what_is_named_is_copied_and_a_wheel_needs_no_more() -> None:
    copied = [word for each in FOUND if each.name == "COPY" and "--from" not in each.text for word in each.words[:-1]]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, hatch = settings["project"], settings["tool"]["hatch"]
    readme = [fragment["path"] for fragment in hatch["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]]
    packages = hatch["build"]["targets"]["wheel"]["packages"]
    assert set(copied) == {"pyproject.toml", *packages, *readme, *project["license-files"]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)


def test_no_layer_has_a_secret() -> None:
    named = " ".join(each.text for each in FOUND if each.name in ("ENV", "ARG", "LABEL"))
    assert not re.search(r"KEY|PASSWORD|TOKEN|SECRET", named, re.IGNORECASE)


def test_the_journal_is_in_a_volume_that_belongs_to_the_program_alone() -> None:
    folder = str(Path(JOURNAL).parent)
    assert said("VOLUME") == [folder]
    (user,) = said("USER")
    uid, gid = user.split(":")
    made = next(each.text for each in STAGE if each.name == "RUN" and folder in each.text)
    assert made == f"install --directory --owner={uid} --group={gid} --mode=700 {folder}"


def test_serve_understands_what_the_image_starts(capfd: pytest.CaptureFixture[str]) -> None:
    assert said("ENTRYPOINT") == ["autobatcher"]
    assert run_here(*said("CMD"), "--port", "70000", **variables(STAGE)) == 2
    assert "--port" in capfd.readouterr().err


@pytest.mark.skipif(not can_unshare(), reason="this process may not mount")
@pytest.mark.real_time
def test_what_the_image_starts_answers_with_a_read_only_root_and_keeps_its_journal(tmp_path: Path) -> None:
    (folder := tmp_path / "journal").mkdir(mode=0o700)
    command = [sys.executable, "-m", *said("ENTRYPOINT"), *said("CMD"), "--port", "0", "--batch-window", "0.1"]
    with emulator() as upstream:
        here = {"OPENAI_BASE_URL": upstream, "OPENAI_API_KEY": "any", "AUTOBATCHER_POLL_INTERVAL": "0.1"}
        set_up = environment(**here, AUTOBATCHER_JOURNAL=str(folder / Path(JOURNAL).name), TMPDIR=str(folder))
        confined = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(folder), *command]
        with subprocess.Popen(confined, env=set_up, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as it:
            try:
                assert it.stderr is not None
                port = next(found[1] for line in it.stderr if (found := re.search(r"http://0\.0\.0\.0:(\d+)/v1", line)))
                body = {"model": "m", "input": "hello"}
                answer = httpx.post(f"http://127.0.0.1:{port}/v1/responses", json=body, timeout=40)
                it.send_signal(signal.SIGTERM)
                assert it.wait(40) == 0
            finally:
                it.kill()
    assert answer.status_code == 200
    assert (folder / Path(JOURNAL).name).stat().st_size > 0
