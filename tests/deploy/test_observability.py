"""The dashboard and the alerts ask for what a proxy tells, and promtool, where it is installed, takes them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from autobatcher.server import Report
from autobatcher.server.metrics import Metrics
from tests.deploy.promql import Named, named_in, unknown_in
from tests.server.scrapes import busy_scrape, series_of

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts" / "autobatcher.yaml"
DASHBOARD = DEPLOY / "grafana" / "autobatcher.json"
RULE_TESTS = Path(__file__).parent / "alerts_test.yaml"
PROMTOOL = shutil.which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")


OF_OTHERS = {
    "up": frozenset[str](),
    "kubelet_volume_stats_available_bytes": frozenset({"namespace", "persistentvolumeclaim"}),
    "kubelet_volume_stats_capacity_bytes": frozenset({"namespace", "persistentvolumeclaim"}),
}
"""What Prometheus itself and a cluster tell, with labels."""


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return content


def queries() -> Iterator[tuple[str, str, str]]:
    """Each query of the dashboard: where it stands, its expression, and the legend that its series have."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"], annotation["titleFormat"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
            yield variable["name"], f"count by ({label}) ({selector})", f"{{{{{label}}}}}"


@pytest.mark.full_price
@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
@pytest.mark.real_time
async def test_dashboard_and_alerts_name_what_a_real_scrape_has(postgres_url: str) -> None:
    with trio.fail_after(40):
        series = {**OF_OTHERS, **series_of(await busy_scrape(postgres_url))}
    asked = [*queries(), *((rule["alert"], rule["expr"], _said_by(rule)) for rule in rules())]
    unknown = {where: found for where, expression, _ in asked if (found := unknown_in(expression, series))}
    assert unknown == {}
    for where, expression, text in asked:
        named = named_in(expression)
        known = named.grouping.union({"instance"}, *(series[name] for name in named.metrics))
        assert set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text)) <= known, where


def _said_by(rule: dict[str, Any]) -> str:
    return " ".join(rule["annotations"].values())


def test_each_series_whose_first_increase_wakes_somebody_is_told_from_the_beginning() -> None:
    """`increase()` of a series that begins with 1 is 0."""
    families = text_string_to_metric_families(Metrics(Report(), lambda: b"").text().decode())
    begun = [sample for family in families for sample in family.samples]
    found = [re.findall(r"increase\((\w+)(?:\{([^}]*)\})?\[", rule["expr"]) for rule in rules()]
    asked = {each for several in found for each in several}
    assert len(asked) > 8
    for name, matchers in asked:
        several = [sample.labels for sample in begun if sample.name == name]
        for label, how, value in re.findall(r'(\w+)(=~|!~|=)"([^"]*)"', matchers):
            several = [each for each in several if (re.fullmatch(value, each[label]) is None) == (how == "!~")]
        assert several, (name, matchers)


def test_what_no_scrape_has_is_found() -> None:
    series = {"up_total": frozenset({"status"}), "up": frozenset[str]()}
    expression = 'sum by (le, job) (rate(up_total{status=~"5..|le",kind="x"}[5m])) / on (instance) upp > 0.5'
    assert unknown_in(expression, series) == {"by (le)", "up_total{kind}", "upp"}
    assert named_in("histogram_quantile(0.9, a_b) * 3600 offset 1h") == Named({"a_b": frozenset()}, frozenset())


def test_the_alerts_say_what_to_do_and_each_is_tested_awake_and_asleep() -> None:
    tests = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    asleep = {each["alertname"] for test in tests for each in test.get("alert_rule_test", ())}
    fired = "".join(each["expr"] for test in tests for each in test.get("promql_expr_test", ()))
    awake = set(re.findall(r'ALERTS\{alertname="(\w+)",alertstate="firing"\}', fired))
    names = [rule["alert"] for rule in rules()]
    assert asleep == awake == set(names)
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "action"}


def test_the_dashboards_panels_do_not_cover_each_other() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_the_dashboard_brings_no_data_source_of_ours() -> None:
    sources = re.findall(r'"uid": "([^"]*)"', DASHBOARD.read_text())
    assert set(sources) == {"${datasource}", "autobatcher"}


@needs_promtool
@pytest.mark.real_time
def test_promtool_takes_alerts_and_queries_and_the_alerts_pass_their_tests(tmp_path: Path) -> None:
    records = [
        {"record": f"dashboard:{number}", "expr": _filled(expr)} for number, (_, expr, _) in enumerate(queries())
    ]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    for arguments in (
        ("check", "rules", str(RULES), str(tmp_path / "queries.yaml")),
        ("test", "rules", str(RULE_TESTS)),
    ):
        done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def _filled(expression: str) -> str:
    """With values for Grafana's variables."""
    return re.sub(r"\$(\w+)", "x", expression.replace("$__rate_interval", "5m").replace("$__range", "1h"))
