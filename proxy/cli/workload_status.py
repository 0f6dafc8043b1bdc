"""``kubectl kcp workload status``: the clusters of a workspace, and what is on them."""

from __future__ import annotations

import datetime
import json
from typing import Any
from urllib.parse import quote

import click
import yaml

from proxy.cli.clusters import CLUSTERS, LABEL, NAMESPACES, cluster_of, no_clusters, places
from proxy.cli.flags import kubectl_flags
from proxy.cli.session import Session
from proxy.kube.errors import StatusError


@click.command(
    epilog="""\b
Examples:
  kubectl kcp workload status
  kubectl kcp workload status east -o wide
  kubectl kcp workload status -o json"""
)
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Choice(["json", "yaml", "wide"]), help="Output format.")
@kubectl_flags
def status(session: Session, name: str | None, output: str | None) -> None:
    """Show the clusters of the current workspace: whether their syncers are alive, and what runs there.

    With NAME, its namespaces as well.
    """
    client = session.client
    try:
        found = [cluster_of(client, name)] if name else client.request("GET", CLUSTERS)["items"]
    except StatusError as error:
        if error.code == 404 and not name:
            raise no_clusters() from error
        raise
    namespaces = client.request("GET", f"{NAMESPACES}?labelSelector={quote(LABEL)}")["items"]
    now = datetime.datetime.now(datetime.UTC)
    clusters = [report(obj, namespaces, now) for obj in found]
    if output in ("json", "yaml"):
        value: Any = clusters[0] if name else {"clusters": clusters}
        text = json.dumps(value, indent=4) if output == "json" else yaml.safe_dump(value, sort_keys=False).rstrip("\n")
        click.echo(text)
    elif not clusters:
        click.echo("No clusters: kubectl kcp workload sync NAME connects one", err=True)
    else:
        print_rows(_rows(clusters, wide=output == "wide"))
        if name and clusters[0]["namespaces"]:
            click.echo()
            rows = [[each["name"], each["state"], each["message"]] for each in clusters[0]["namespaces"]]
            print_rows([["NAMESPACE", "STATE", "MESSAGE"], *rows])


def report(cluster: dict[str, Any], namespaces: list[dict[str, Any]], now: datetime.datetime) -> dict[str, Any]:
    """What there is to say of one cluster."""
    spec, told = cluster.get("spec") or {}, cluster.get("status") or {}
    name = cluster["metadata"]["name"]
    ready: dict[str, Any] = next((item for item in told.get("conditions") or () if item["type"] == "Ready"), {})
    heartbeat = told.get("lastSyncerHeartbeatTime")
    here = [(obj, state) for obj in namespaces if (state := places(obj).get(name))]
    return {
        "name": name,
        "ready": ready.get("status", "Unknown"),
        "message": ready.get("message", ""),
        "schedulable": not spec.get("unschedulable"),
        "draining": bool(spec.get("evictAfter")),
        "lastHeartbeat": heartbeat,
        "heartbeatSeconds": _seconds(heartbeat, now),
        "objects": told.get("objects") or {},
        "lagMilliseconds": told.get("lagMilliseconds") or {},
        "resources": told.get("syncedResources") or [],
        "namespaces": [
            {"name": obj["metadata"]["name"], "state": _state(obj, state), "message": _message(obj)}
            for obj, state in here
        ],
    }


def _state(namespace: dict[str, Any], state: str) -> str:
    if state == "Leave":
        return "Leaving"
    moves = "workloads.kcp.dev/move" in (namespace["metadata"].get("annotations") or {})
    return "Coming" if moves else "Running"


def _message(namespace: dict[str, Any]) -> str:
    conditions = (namespace.get("status") or {}).get("conditions") or ()
    return next((str(item.get("message", "")) for item in conditions if item["type"] == "NamespaceScheduled"), "")


def _seconds(stamp: str | None, now: datetime.datetime) -> int | None:
    try:
        return max(int((now - datetime.datetime.fromisoformat(stamp)).total_seconds()), 0) if stamp else None
    except (ValueError, TypeError):
        return None


def _rows(clusters: list[dict[str, Any]], *, wide: bool) -> list[list[str]]:
    header = ["NAME", "READY", "SCHEDULING", "HEARTBEAT", "RESOURCES", "NAMESPACES", "SYNCED", "FAILED", "LAG"]
    rows = [[*header, "MESSAGE", "API RESOURCES"] if wide else header]
    for each in clusters:
        scheduling = "Draining" if each["draining"] else "Enabled" if each["schedulable"] else "Cordoned"
        objects = each["objects"]
        row = [
            each["name"],
            each["ready"],
            scheduling,
            age(each["heartbeatSeconds"]),
            str(len(each["resources"])),
            str(len(each["namespaces"])),
            str(objects.get("synced", "-")),
            str(objects.get("failed", "-")),
            lag(each["lagMilliseconds"]),
        ]
        rows.append([*row, each["message"] or "-", ",".join(each["resources"])] if wide else row)
    return rows


def lag(told: dict[str, int]) -> str:
    """Of the slowest change of late, or of one that waits for longer already."""
    if not told:
        return "-"
    slowest = max(told.values())
    return f"{slowest}ms" if slowest < 10_000 else age(slowest // 1000)


def age(seconds: int | None) -> str:
    """As kubectl says it, with one unit."""
    if seconds is None:
        return "<none>"
    for unit, size, limit in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 48)):
        if seconds < size * limit:
            return f"{seconds // size}{unit}"
    return f"{seconds // 86400}d"


def print_rows(rows: list[list[str]]) -> None:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        click.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
