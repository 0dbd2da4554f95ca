"""The systemd unit is one, is confined, and starts `serve` with keys that are in files."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from autobatcher.engine.units import parse_size
from tests.cli.processes import run_here
from tests.deploy.dockerfile import instructions

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "autobatcher.service"
MOST_EXPOSED = 25
"""In tenths of what `systemd-analyze security` calls exposure; 100 is a service without any confinement."""


def service() -> dict[str, list[str]]:
    """The settings of the section [Service]."""
    section = re.sub(r"\\\n\s*", " ", UNIT.read_text()).partition("[Service]")[2].partition("\n[")[0]
    found: dict[str, list[str]] = defaultdict(list)
    for line in section.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def test_serve_understands_the_arguments_and_finds_its_keys(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (start,) = service()["ExecStart"]
    loaded = [value.partition(":")[0] for value in service()["LoadCredential"]]
    for name in loaded:
        (tmp_path / name).write_text("a-long-key-that-nobody-guesses")
        (tmp_path / name).chmod(0o400)
    (tmp_path / service()["StateDirectory"][0]).mkdir()
    arguments = shlex.split(start.replace("%d", str(tmp_path)).replace("%S", str(tmp_path)))
    assert {Path(word).name for word in arguments if Path(word).parent == tmp_path} == set(loaded)
    assert run_here(*arguments[1:], "--port", "70000") == 2
    said = capfd.readouterr().err
    assert "--port" in said
    assert "warning" not in said


def test_no_key_is_in_the_unit_or_in_the_environment() -> None:
    assert "KEY" not in UNIT.read_text()
    assert service()["EnvironmentFile"] == ["-/etc/autobatcher/environment"]


def test_it_has_time_to_stop_and_is_not_started_again_with_flags_that_cannot_work() -> None:
    settings = service()
    assert settings["RestartPreventExitStatus"] == ["2"]
    assert int(settings["TimeoutStopSec"][0]) >= 60


def test_it_has_the_memory_that_its_bodies_may_take() -> None:
    variables = dict(value.split("=", 1) for value in service()["Environment"])
    limit = parse_size(f"{service()['MemoryMax'][0]}iB")
    assert limit >= 3 * parse_size(variables["AUTOBATCHER_MAX_WAITING_BYTES"]) + 1_000_000_000
    of_image = instructions(UNIT.parents[1] / "Dockerfile")
    assert f"MALLOC_MMAP_THRESHOLD_={variables['MALLOC_MMAP_THRESHOLD_']}" in next(
        each.text for each in of_image if each.name == "ENV"
    )


def test_only_its_user_can_look_into_the_folders_that_it_may_write_to() -> None:
    settings = service()
    assert settings["StateDirectoryMode"] == settings["LogsDirectoryMode"] == ["0700"]
    page = (UNIT.parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"/var/log/{settings['LogsDirectory'][0]}/calls.jsonl {{" in page


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.real_time
def test_systemd_takes_the_unit_and_calls_it_confined(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/autobatcher/bin/autobatcher", sys.executable))
    for arguments in (("verify",), ("security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager")):
        command = ["systemd-analyze", *arguments, str(copy)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
