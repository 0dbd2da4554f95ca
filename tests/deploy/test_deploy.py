"""What is in deploy/ is valid, and means what `serve` understands. `nox -s deploy` installs what these tests need."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autobatcher.engine.batch.leaving import SHUTDOWN_SECONDS
from autobatcher.engine.hosting import AT_END_SECONDS
from autobatcher.engine.journal.records import CLOSE_SECONDS as JOURNAL_CLOSE_SECONDS
from autobatcher.engine.units import parse_duration, parse_size
from autobatcher.server import CallLimits
from autobatcher.upstream.batch_api import CREATE_SECONDS
from tests.cli.processes import run_here
from tests.deploy.dockerfile import instructions, last_stage
from tests.fleet.nginx import PROGRAM

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VARIABLES = {"POSTGRES_PASSWORD": "p", "AUTOBATCHER_PROXY_KEY": "k", "OPENAI_API_KEY": "k"}

has_compose = (
    shutil.which("docker") is not None
    and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
)


def objects(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def containers() -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Each container of the manifests, with its pod."""
    for path in MANIFESTS:
        for each in objects(path):
            if each["kind"] == "Deployment":
                pod = each["spec"]["template"]["spec"]
                for container in pod["containers"]:
                    yield path, pod, container


def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return content


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_follows_the_schema_of_kubernetes(path: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for each in objects(path):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_what_a_manifest_selects_is_what_it_makes(path: Path) -> None:
    (deployment,) = (each for each in objects(path) if each["kind"] == "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    for each in objects(path):
        selector = each["spec"].get("selector", {})
        assert selector.get("matchLabels", selector).items() <= labels, each["kind"]


def test_each_volume_of_a_container_is_one_of_its_pod() -> None:
    for path, pod, container in containers():
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, path


def test_each_container_is_probed_and_writes_nothing_but_its_journal_and_temporary_files() -> None:
    for path, pod, container in containers():
        paths = {container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")}
        assert paths == {"/ready", "/health"}, path
        confined = container["securityContext"]
        assert (confined["readOnlyRootFilesystem"], confined["allowPrivilegeEscalation"]) == (True, False), path
        assert (pod["enableServiceLinks"], pod["automountServiceAccountToken"]) == (False, False), path
        assert ":latest" not in container["image"], path  # an update could not be undone
        assert confined["capabilities"] == {"drop": ["ALL"]}, path
        assert pod["securityContext"]["runAsNonRoot"], path
        user = pod["securityContext"]
        assert f"{user['runAsUser']}:{user['runAsGroup']}" == _users(), path
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        journal = _journal(container)
        assert mounts >= {"/tmp", *({} if "://" in journal else {str(Path(journal).parent)})}, path


def _users() -> str:
    return next(each.text for each in last_stage(instructions(DEPLOY / "Dockerfile")) if each.name == "USER")


def test_only_a_fleet_whose_journal_is_a_server_has_several_replicas() -> None:
    for path in MANIFESTS:
        (deployment,) = (each for each in objects(path) if each["kind"] == "Deployment")
        journal = _journal(deployment["spec"]["template"]["spec"]["containers"][0])
        is_fleet = deployment["spec"]["replicas"] > 1
        assert is_fleet == journal.startswith("postgresql://"), path
        assert is_fleet or deployment["spec"]["strategy"] == {"type": "Recreate"}, path
    service = compose()["services"]["autobatcher"]
    assert service["deploy"]["replicas"] == 3
    assert service["environment"]["AUTOBATCHER_JOURNAL"].startswith("postgresql://")


def _journal(container: dict[str, Any]) -> str:
    arguments: list[str] = container["args"]
    if "--journal" in arguments:
        return arguments[arguments.index("--journal") + 1]
    (value,) = (each["value"] for each in container["env"] if each["name"] == "AUTOBATCHER_JOURNAL")
    return str(value)


def test_serve_understands_the_arguments(capfd: pytest.CaptureFixture[str]) -> None:
    for path, _, container in containers():
        assert run_here(*container["args"], "--help") == 0, path
    for path, _, container in containers():  # refused for a port that cannot be, and for nothing else
        assert run_here(*container["args"], "--port", "70000") == 2, path
        assert "--port" in capfd.readouterr().err


def test_a_pod_has_the_time_to_drain_and_to_close() -> None:
    close = 60.0  # as docs/operations.md says
    assert close >= CREATE_SECONDS + SHUTDOWN_SECONDS + JOURNAL_CLOSE_SECONDS + AT_END_SECONDS
    for path, pod, container in containers():
        arguments = container["args"]
        drain = parse_duration(arguments[arguments.index("--drain") + 1])
        before = float(container["lifecycle"]["preStop"]["exec"]["command"][-1])
        assert pod["terminationGracePeriodSeconds"] >= before + drain + close, path
        probe = container["readinessProbe"]  # for balancers that ask it, and hear nothing of the pod's end
        assert probe["httpGet"]["path"] == "/ready"
        assert probe["periodSeconds"] * probe["failureThreshold"] <= drain, path
    grace = parse_duration(compose()["services"]["autobatcher"]["stop_grace_period"])
    assert grace >= close  # without a drain


def test_a_pod_has_the_memory_that_its_bodies_may_take() -> None:
    for path, _, container in containers():
        arguments = container["args"]
        bodies = parse_size(arguments[arguments.index("--max-waiting-bytes") + 1])
        limit = parse_size(f"{container['resources']['limits']['memory']}B")
        assert limit >= 3 * bodies + 1_000_000_000, path  # docs/security.md


def test_compose_depends_on_services_and_mounts_files_that_exist() -> None:
    content = compose()
    services = content["services"]
    assert services["autobatcher"]["read_only"]
    assert services["autobatcher"]["tmpfs"] == ["/tmp"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in content["volumes"] or (DEPLOY / source).exists(), volume
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()


@pytest.mark.skipif(not has_compose, reason="docker compose is not installed")
@pytest.mark.real_time
def test_compose_takes_its_file() -> None:
    command = ["docker", "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, env={**os.environ, **VARIABLES}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path(PROGRAM).exists(), reason="nginx is not installed")
@pytest.mark.real_time
def test_nginx_takes_its_file_and_what_the_page_on_the_proxy_shows(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```nginx\n(.*?)```", (DEPLOY.parent / "docs" / "proxy.md").read_text(), re.DOTALL)
    (tmp_path / "nginx.conf").write_text(f"events {{}} http {{ {shown} }}")
    for path in (DEPLOY / "nginx.conf", tmp_path / "nginx.conf"):
        command = [PROGRAM, "-t", "-c", str(path), "-g", "pid /dev/null;"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_nginx_has_connections_for_all_that_the_replicas_let_wait_and_writes_no_prompts_to_files() -> None:
    content = (DEPLOY / "nginx.conf").read_text()
    (for_each,) = re.findall(r"worker_connections (\d+);", content)
    (files,) = re.findall(r"worker_rlimit_nofile (\d+);", content)
    waiting = CallLimits.max_waiting * compose()["services"]["autobatcher"]["deploy"]["replicas"]
    assert 2 * int(for_each) >= 2 * waiting  # two workers, and two connections for each that waits
    assert int(files) > int(for_each)
    assert "proxy_request_buffering off;" in content
