"""What docs/operations.md says to type works, and what it names exists. `nox -s deploy` runs this."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import stat
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from autobatcher.engine.journal.store import Store
from autobatcher.server.metrics_catalogue import CATALOGUE
from tests.cli.processes import emulator, run_here
from tests.deploy.dockerfile import instructions, last_stage, variables
from tests.deploy.test_deploy import MANIFESTS, containers, objects
from tests.deploy.test_observability import PROMTOOL, RULES, needs_promtool, rules
from tests.deploy.test_systemd import UNIT, service
from tests.journal.records import a_record
from tests.metrics_docs import DOCUMENT, written
from tests.server.proxies import open_proxy

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
TEXT = PAGE.read_text(encoding="utf-8")
WHEN = TEXT.partition("## What to do when\n")[2].partition("\n## ")[0]
ROWS = [line for line in WHEN.splitlines() if line.startswith("| <a id")]

STUBS = """
useradd() { test "${!#}" = autobatcher; }
systemctl() { :; }
journalctl() { :; }
python3() { if [ "$2" = venv ]; then mkdir -p "$3/bin"; ln -s /bin/true "$3/bin/pip"; else command python3 "$@"; fi; }
"""
"""What would change this machine, or take minutes."""


def block(what: str) -> str:
    """The one code block that follows a comment."""
    (found,) = re.findall(rf"<!-- {what} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def commands(what: str) -> list[list[str]]:
    """The commands of a block, each as its words."""
    lines = block(f"commands: {what}").replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines]


def after(flag: str, words: list[str]) -> list[str]:
    """The values of a flag."""
    return [value for name, value in itertools.pairwise(words) if name == flag]


def test_the_table_of_metrics_is_made_from_the_catalogue() -> None:
    assert written() == DOCUMENT.read_text(encoding="utf-8"), "run `nox -s settings`"


def test_each_metric_alert_flag_and_command_that_is_named_exists(capfd: pytest.CaptureFixture[str]) -> None:
    endings = {"counter": "_total", "gauge": "", "histogram": ""}
    known = {f"autobatcher_{name}{endings[each.kind]}" for name, each in CATALOGUE.items()}
    assert set(re.findall(r"\bautobatcher_[a-z_]+[a-z]", TEXT)) <= {*known, "autobatcher_fleet", "autobatcher_max"}
    alerts = [name for row in ROWS for name in re.findall(r"`(Autobatcher\w+)`", row.split("|")[2])]
    assert sorted(alerts) == sorted(rule["alert"] for rule in rules())
    named = set(re.findall(r"`autobatcher ([a-z]+(?: check)?)", WHEN))
    for name in ("serve", *named):
        assert run_here(*name.split(), "--help") == 0, name
    helped = capfd.readouterr().out
    for flag in re.findall(r"`(--[a-z-]+)", WHEN):
        assert flag in helped, flag


def test_docker_runs_the_image_with_its_volume_its_port_and_variables_that_are_understood() -> None:
    build, run = commands("docker")
    stage = last_stage(instructions(ROOT / after("-f", build)[0]))
    assert after("-t", build) == [run[-1]]
    said = {each.name: each.words for each in stage}
    assert [value.partition(":")[2] for value in after("--volume", run)] == said["VOLUME"]
    assert [value.rpartition(":")[2] for value in after("--publish", run)] == said["EXPOSE"]
    assert variables(stage)["AUTOBATCHER_JOURNAL"] in TEXT
    assert {value.partition("=")[0] for value in after("--env", run)} == {
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "AUTOBATCHER_PROXY_KEY",
    }
    assert {"--read-only", "--cap-drop", "--tmpfs"} <= set(run)


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
@pytest.mark.real_time
def test_docker_knows_the_flags() -> None:
    for words in commands("docker"):
        helped = subprocess.run(["docker", words[1], "--help"], capture_output=True, text=True, check=True).stdout
        for flag in (word for word in words if word.startswith("-")):
            assert re.search(rf"(^|\s){re.escape(flag)}[\s,]", helped), flag


def test_compose_is_given_the_variables_that_it_requires() -> None:
    exported, up = commands("compose")
    required = set(re.findall(r"\$\{(\w+):\?", (ROOT / after("-f", up)[0]).read_text()))
    assert {word.partition("=")[0] for word in exported[1:]} == required


def test_kubernetes_is_given_the_secret_that_the_manifests_read() -> None:
    secret, apply, status = commands("kubernetes")
    (file,) = (word.removeprefix("--from-env-file=") for word in secret if word.startswith("--from-env-file="))
    given = {line.partition("=")[0] for line in block(f"file: {file}").splitlines()}
    for path, _, container in containers():
        read = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
        assert {each["name"] for each in read} == {secret[secret.index("generic") + 1]}, path
        assert {each["key"] for each in read} <= given, path
    applied = ROOT / after("-f", apply)[0]
    assert applied in MANIFESTS
    assert status[-1] in {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects(applied)}


def test_a_second_key_has_a_set_of_replicas_of_its_own_on_the_same_journal() -> None:
    of_kubectl = """kubectl() { case "$1" in apply) cat ;; esac; }\n"""
    done = subprocess.run(
        ["bash", "-euc", of_kubectl + block("commands: rotation")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    made = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    (path,) = (path for path in MANIFESTS if path.name == "several.yaml")
    first = {each["kind"]: each for each in objects(path)}
    assert {each["metadata"]["name"] for each in made.values()} == {"autobatcher-2"}
    pod, selects = made["Deployment"]["spec"]["template"], {"app": "autobatcher-2"}
    assert pod["metadata"]["labels"] == made["Service"]["spec"]["selector"] == selects
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert made[kind]["spec"]["selector"]["matchLabels"] == selects
    variables = {each["name"]: each for each in pod["spec"]["containers"][0]["env"]}
    before = {each["name"]: each for each in first["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]}
    changed = variables.pop("OPENAI_API_KEY")["valueFrom"]["secretKeyRef"]
    assert changed == {"name": "autobatcher-2", "key": "api-key"}
    assert variables == {name: each for name, each in before.items() if name != "OPENAI_API_KEY"}
    patch = commands("rotation")[-1]
    assert yaml.safe_load(patch[-1]) == {"spec": {"selector": selects}}


@pytest.mark.real_time
def test_root_runs_a_command_as_the_journals_owner_with_the_settings_and_the_key_of_the_service(tmp_path: Path) -> None:
    """`runuser` is a stub: there is no such user here."""
    (etc := tmp_path / "etc" / "autobatcher").mkdir(parents=True)
    (etc / "environment").write_text("OPENAI_BASE_URL=http://upstream.test/v1\nAUTOBATCHER_BATCH_WINDOW=1m\n")
    (etc / "api-key").write_text("sk-test\n")
    (program := tmp_path / "opt" / "autobatcher" / "bin" / "autobatcher").parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$*; $OPENAI_BASE_URL; $OPENAI_API_KEY; $AUTOBATCHER_JOURNAL"\n')
    program.chmod(0o755)
    script = re.sub(r"(?<![\w/.])/(opt|etc)/", rf"{tmp_path}/\1/", block("commands: owner"))
    stub = 'runuser() { test "$1 $2 $3" = "-u autobatcher --"; shift 3; "$@"; }\n'
    ends = '\ntest -z "${OPENAI_API_KEY:-}${AUTOBATCHER_JOURNAL:-}"'
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "AUTOBATCHER"))}
    done = subprocess.run(["bash", "-euc", stub + script + ends], env=clean, capture_output=True, text=True, check=True)
    (state,) = service()["StateDirectory"]
    assert done.stdout.splitlines() == [
        f"{words}; http://upstream.test/v1; sk-test; /var/lib/{state}/batches.sqlite3"
        for words in ("status", "receipt", "cancel --help")
    ]


@pytest.mark.real_time
def test_the_commands_for_systemd_install_what_the_unit_reads(tmp_path: Path) -> None:
    script = re.sub(r"(?<![\w/.])/(opt|etc)/", rf"{tmp_path}/\1/", block("commands: systemd"))
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    environment = {**os.environ, "OPENAI_API_KEY": "sk-test"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", STUBS + script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    for value in service()["LoadCredential"]:
        key = tmp_path / value.partition(":")[2].lstrip("/")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert len(key.read_text().strip()) >= len("sk-test")
    assert (tmp_path / service()["EnvironmentFile"][0].lstrip("-/")).read_text().startswith("OPENAI_BASE_URL=")
    assert (tmp_path / "etc" / "systemd" / "system" / UNIT.name).read_bytes() == UNIT.read_bytes()
    assert service()["ExecStart"][0].startswith(f"/{(tmp_path / 'opt/autobatcher/bin').relative_to(tmp_path)}/")
    assert service()["User"] == ["autobatcher"]


def test_the_pod_monitor_fits_the_manifests() -> None:
    monitor: dict[str, Any] = yaml.safe_load(block("file: podmonitor.yaml"))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for path in MANIFESTS:
        (deployment,) = (each for each in objects(path) if each["kind"] == "Deployment")
        pod = deployment["spec"]["template"]
        assert monitor["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
        (container,) = pod["spec"]["containers"]
        assert endpoint["port"] in {port["name"] for port in container["ports"]}
        read = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
        assert endpoint["authorization"]["credentials"] in read


def test_the_files_that_are_linked_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert links
    for link in links:
        assert "://" in link or (PAGE.parent / link).exists(), link


@needs_promtool
@pytest.mark.real_time
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    (tmp_path / "autobatcher-proxy-key").write_text("key")
    (tmp_path / "prometheus.yml").write_text(
        block("file: prometheus.yml").replace("/etc/prometheus/", f"{tmp_path}/").replace("# deploy/alerts/", "# ")
    )
    command = [str(PROMTOOL), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands use curl")
@pytest.mark.real_time
def test_the_commands_to_look_at_a_proxy_show_what_the_table_names() -> None:
    async def looked() -> str:
        with trio.fail_after(40):
            async with open_proxy() as proxy:
                script = block("commands: look").replace("http://127.0.0.1:8080", proxy.url)
                done = await trio.run_process(["bash", "-ec", script], capture_stdout=True)
                return done.stdout.decode()

    said = trio.run(looked)
    for word in ('"reason"', '"errors"', '"cap"', '"refused"', '"fleet"', '"currency"', "autobatcher_build_info"):
        assert word in said, word


def test_the_commands_to_read_a_journal_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(Store(tmp_path / "batches.sqlite3")) as store:
        store.intend(a_record("one"), [], is_hash_only=False)
    for words in commands("journal"):
        assert words[0] == "autobatcher"
        assert run_here(*words[1:]) == 0, words
    assert "uploading" in capfd.readouterr().out


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands use curl")
@pytest.mark.real_time
def test_the_commands_with_the_key_are_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOBATCHER_PROXY_KEY", "the-key-of-the-proxy")

    async def looked() -> str:
        with trio.fail_after(40):
            async with open_proxy(app={"proxy_key": "the-key-of-the-proxy"}) as proxy:
                script = block("commands: key").replace("http://127.0.0.1:8080", proxy.url)
                done = await trio.run_process(["bash", "-ec", script.replace("curl", "curl -sf")], capture_stdout=True)
                return done.stdout.decode()

    said = trio.run(looked)
    assert "autobatcher_build_info" in said
    assert '"batches_known"' in said


def test_the_upstream_is_checked_as_told(capfd: pytest.CaptureFixture[str]) -> None:
    (words,) = commands("check")
    with emulator() as upstream:
        told = [upstream if word.startswith("https://") else word for word in words[1:]]
        assert run_here(*told, "--api-key", "k") == 0
    assert "batches" in capfd.readouterr().out


def test_each_command_has_the_flags_that_it_is_given(capfd: pytest.CaptureFixture[str]) -> None:
    shown = "\n".join(re.findall(r"```(?:sh|bash)\n(.*?)```", TEXT, re.DOTALL)).replace("\\\n", " ")
    given = re.findall(r"^(?:opentelemetry-instrument )?autobatcher (\w+)(.*)$", shown, re.MULTILINE)
    assert {"serve", "check", "status"} <= {name for name, _ in given}
    for name, rest in given:
        assert run_here(name, "--help") == 0
        helped = capfd.readouterr().out
        for flag in re.findall(r"--[a-z-]+", rest):
            assert flag in helped, (name, flag)
