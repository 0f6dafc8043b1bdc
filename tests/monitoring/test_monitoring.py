"""Dashboards, recording and alert rules, in a real Prometheus that scraped a real kcp."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from grafana.boards import BOARDS
from grafana.panels import text
from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from tests.clusters.system import REPOSITORY, run
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, run_kcp
from tests.monitoring import operator
from tests.monitoring.prometheus import program, scraping
from tests.monitoring.syncing import syncing

DASHBOARDS = sorted((REPOSITORY / "grafana" / "dashboards").glob("*.json"))
RULES = REPOSITORY / "grafana" / "rules" / "kcp.yaml"
RUNBOOK = REPOSITORY / "docs" / "runbook.md"
VARIABLES = {"$__rate_interval": "10s", "$workspace": "root:default", "$shard": ".*"}

needs_prometheus = pytest.mark.skipif(
    not (program("prometheus") and program("promtool")),
    reason="no Prometheus: `python -m tests.monitoring` says why it could not be had",
)


def panels() -> list[tuple[str, str, str]]:
    """Dashboard, title and query of everything that is drawn."""
    found = []
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            found += [(file.stem, panel["title"], target["expr"]) for target in panel.get("targets", ())]
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboards_are_whole(file: Path) -> None:
    board = json.loads(file.read_text())
    assert re.fullmatch(r"kcp-[a-z-]+", board["uid"])
    drawn = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len(drawn) > 5
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in drawn:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_dashboards_are_what_the_code_says() -> None:
    assert {file.stem: file.read_text() for file in DASHBOARDS} == {board.name: text(board) for board in BOARDS}
    assert len({board.title for board in BOARDS}) == len(BOARDS) == 5


def test_every_alert_has_its_paragraph() -> None:
    alerts = {rule["alert"] for rule in rules() if "alert" in rule}
    paragraphs = set(re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    assert alerts == paragraphs
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
            assert rule["labels"]["severity"] in ("warning", "critical")


@needs_prometheus
def test_rules_fire_when_they_should() -> None:
    run(str(program("promtool")), "test", "rules", REPOSITORY / "tests" / "monitoring" / "rules.yaml", timeout=300)
    run(str(program("promtool")), "check", "config", REPOSITORY / "manifests" / "monitoring" / "prometheus.yaml")


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    tests = yaml.safe_load((REPOSITORY / "tests" / "monitoring" / "rules.yaml").read_text())["tests"]
    seen = {(rule["alertname"], bool(rule["exp_alerts"])) for test in tests for rule in test["alert_rule_test"]}
    assert seen == {(rule["alert"], fires) for rule in rules() if "alert" in rule for fires in (True, False)}


@needs_prometheus
@pytest.mark.parametrize("port", ["kcp", "syncer"])
async def test_names_are_as_prometheus_wants_them(prometheus: str, port: str) -> None:
    """Its linter: units, suffixes, help."""
    url = f"http://127.0.0.1:{ {'kcp': SCRAPED, 'syncer': SYNCER}[port] }/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        text = await response.read()
    linter = await asyncio.create_subprocess_exec(
        *(str(program("promtool")), "check", "metrics"), stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await linter.communicate(text)
    assert (linter.returncode, said) == (0, b"")


SCRAPED, SYNCER = free_port(), free_port()


@pytest.fixture(scope="module")
async def kcp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    folder = tmp_path_factory.mktemp("kcp")
    options = ("--metrics-bind-address", f"127.0.0.1:{SCRAPED}", "--audit-log-path", str(folder / "audit.log"))
    async with Kcp(folder / "root", *options) as running:
        yield running


@pytest.fixture(scope="module")
async def prometheus(kcp: Kcp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of a Prometheus that has scraped a kcp in use."""
    using = asyncio.create_task(use(kcp))
    try:
        async with (
            scraping(tmp_path_factory.mktemp("monitoring"), kcp=SCRAPED, syncer=SYNCER) as url,
            syncing(kcp, SYNCER),
        ):
            await asyncio.sleep(6)
            yield url
    finally:
        using.cancel()
        await asyncio.gather(using, return_exceptions=True)


async def use(kcp: Kcp) -> None:
    """Reads, writes and a refusal, until cancelled."""
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        path = "/api/v1/namespaces/default/configmaps"
        number = 0
        while True:
            number += 1
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"m{number}"}}
            await client.request("POST", path, body=body)
            await client.request("GET", path)
            with contextlib.suppress(StatusError):
                await client.request("GET", f"{path}/none")
            await asyncio.sleep(0.05)


async def query(url: str, expression: str) -> list[dict[str, Any]]:
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/api/v1/query", params={"query": expression}) as response,
    ):
        answer = await response.json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@needs_prometheus
@pytest.mark.parametrize(("board", "title", "expression"), panels())
async def test_every_panel_shows_something(prometheus: str, board: str, title: str, expression: str) -> None:
    async def shown() -> bool:
        found = await query(prometheus, expression)
        return bool(found) and all(sample["value"][1] != "NaN" for sample in found)

    await eventually(shown, aiohttp.ClientError, timeout=30)


@needs_prometheus
async def test_rules_have_data_and_nothing_is_wrong(prometheus: str) -> None:
    for rule in rules():
        if "record" in rule:

            async def recorded(name: str = rule["record"]) -> bool:
                return bool(await query(prometheus, name))

            await eventually(recorded)
        else:
            await query(prometheus, rule["expr"])  # that it is understood
    assert [entry["metric"] for entry in await query(prometheus, 'ALERTS{alertstate="firing"}')] == []


@needs_prometheus
async def test_what_prometheus_scrapes_is_what_alerts_ask_for(prometheus: str) -> None:
    """No rule and no panel names a metric that kcp does not have."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{prometheus}/api/v1/label/__name__/values") as response,
    ):
        known = set((await response.json())["data"])
    named = {name for rule in rules() for name in re.findall(r"\bkcp[_:][a-z0-9_:]+", rule["expr"])}
    named |= {name for *_, expression in panels() for name in re.findall(r"\bkcp_[a-z0-9_]+", expression)}
    assert named - known == set()


@needs_prometheus
async def test_kcp_top_shows_what_syncing_does(prometheus: str, kcp: Kcp) -> None:
    options = ("--root-directory", str(kcp.root), "--interval", "1")
    code, output, errors = await run_kcp("top", *options, "-o", "json")
    assert code == 0, errors
    [cluster] = json.loads(output)["clusters"]
    assert (cluster["name"], cluster["workspace"], cluster["state"]) == ("east", "root:default:above", "ready")
    assert (cluster["resources"], cluster["synced"] >= 1, cluster["failed"]) == (2, True, 0)
    assert cluster["lag"].keys() == {"down", "up", "oldest"}
    assert 0 < cluster["lag"]["down"] < 60
    code, output, errors = await run_kcp("top", *options, "--once")
    assert code == 0, errors
    lag = r"\d+ m?s"
    assert re.search(rf"^east +root:default:above +ready +\d+ s +\d+ +0 +{lag} +{lag} +{lag} *$", output, re.M), output


@pytest.mark.skipif(not operator.there(), reason="no CRDs: `python -m tests.monitoring` says why they could not be had")
async def test_the_operator_understands_its_manifests(kcp: Kcp) -> None:
    """In a workspace that has the operator's CRDs; the server refuses fields that it does not know."""
    manifests = list(yaml.safe_load_all((REPOSITORY / "manifests" / "monitoring" / "operator.yaml").read_text()))
    rules_of_ours = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "kcp"},
        "spec": yaml.safe_load(RULES.read_text()),
    }
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        for plural in operator.KINDS:
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            await client.request("POST", path, body=operator.definition(plural), timeout=60)
        for manifest in [*manifests, rules_of_ours]:
            plural = manifest["kind"].lower() + "s"

            async def taken(plural: str = plural, manifest: Any = manifest) -> bool:
                path = f"/apis/monitoring.coreos.com/v1/namespaces/default/{plural}"
                await client.request("POST", path, body=manifest, params={"fieldValidation": "Strict"})
                return True

            await eventually(taken, StatusError, timeout=30)
            wrong = {**manifest, "metadata": {"name": "wrong"}, "spec": {**manifest["spec"], "selectr": {}}}
            with pytest.raises(StatusError, match="unknown field"):
                await taken(plural, wrong)
