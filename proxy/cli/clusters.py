"""``kubectl kcp workload cordon|uncordon|drain``: a cluster gets no more namespaces, or has to give up its own."""

from __future__ import annotations

import datetime
import re
import time
from typing import Any
from urllib.parse import quote

import click

from proxy.cli.flags import Plain, kubectl_flags
from proxy.cli.rest import RestClient, segment
from proxy.cli.session import Session
from proxy.kube.errors import StatusError

CLUSTERS = "/apis/workload.kcp.dev/v1alpha1/workloadclusters"
NAMESPACES = "/api/v1/namespaces"
LABEL = "workloads.kcp.dev/cluster"
STATE = "state.workload.kcp.dev/"
SEVERAL = "Several"
OPT_OUT = "experimental.workloads.kcp.dev/scheduling-disabled"
PAUSE = 0.5
"""Seconds between looks at the namespaces of a cluster that is drained."""
_UNITS = {"s": 1, "m": 60, "h": 3600}


@click.command(epilog="\b\nExample:\n  kubectl kcp workload cordon east")
@click.argument("name")
@kubectl_flags
def cordon(session: Session, name: str) -> None:
    """No namespace is newly assigned to cluster NAME; what runs there stays."""
    _cordon(session.client, name)


@click.command(epilog="\b\nExample:\n  kubectl kcp workload uncordon east")
@click.argument("name")
@kubectl_flags
def uncordon(session: Session, name: str) -> None:
    """Namespaces may be assigned to cluster NAME again; ends a drain, too."""
    spec = cluster_of(session.client, name).get("spec") or {}
    if not spec.get("unschedulable") and not spec.get("evictAfter"):
        click.echo(f"workloadcluster/{name} already uncordoned")
        return
    _change(session.client, name, {"unschedulable": False, "evictAfter": None})
    click.echo(f"workloadcluster/{name} uncordoned")


@click.command(
    epilog="""\b
Examples:
  kubectl kcp workload drain east
  kubectl kcp workload drain east --timeout 10m"""
)
@click.argument("name")
@click.option("--timeout", default="0s", show_default=True, help="How long to wait (30s, 5m, 1h); 0s: for ever.")
@kubectl_flags
def drain(session: Session, name: str, timeout: str) -> None:
    """Cordon cluster NAME and move its namespaces to others.

    Each is removed from NAME when it runs somewhere else, so that nothing stops meanwhile. What has nowhere to go
    stays, and is told; the command then waits.
    """
    seconds = duration(timeout)
    client = session.client
    _cordon(client, name)
    spec = cluster_of(client, name).get("spec") or {}
    if not spec.get("evictAfter"):
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        _change(client, name, {"evictAfter": now})
    left = _follow(client, name, time.monotonic() + seconds if seconds else None)
    if left:
        raise Plain(f"unable to drain workloadcluster {name!r} within {timeout}, still there: {', '.join(left)}")
    click.echo(f"workloadcluster/{name} drained")


def _follow(client: RestClient, name: str, deadline: float | None) -> list[str]:
    """Tell of the namespaces that leave the cluster; those that are left at the deadline."""
    there: set[str] = set()
    told: dict[str, str] = {}
    while True:
        listed = client.request("GET", f"{NAMESPACES}?labelSelector={quote(LABEL)}")["items"]
        namespaces = {item["metadata"]["name"]: item for item in listed}
        now = {plain for plain, obj in namespaces.items() if name in places(obj)}
        for plain in sorted(now):
            labels = namespaces[plain]["metadata"].get("labels") or {}
            if OPT_OUT in labels:
                now.discard(plain)
                trouble = f"ignoring namespace {plain}: its scheduling is disabled ({OPT_OUT})"
            else:
                trouble = _trouble(namespaces[plain], name)
                if plain not in there:
                    click.echo(f"evicting namespace {plain}")
            if trouble and told.get(plain) != trouble:
                told[plain] = trouble
                click.echo(trouble, err=True)
        for plain in sorted(there - now):
            to = " and ".join(places(namespaces[plain])) if plain in namespaces else ""
            click.echo(f"namespace/{plain} evicted" + (f" to {to}" if to else ""))
        there = now
        if not there:
            return []
        if deadline is not None and time.monotonic() > deadline:
            return sorted(there)
        time.sleep(PAUSE)


def _trouble(namespace: dict[str, Any], cluster: str) -> str:
    """What keeps a namespace from leaving, if the controller says so."""
    for item in (namespace.get("status") or {}).get("conditions") or ():
        if item["type"] == "NamespaceScheduled" and item.get("reason") == "NoBetterCluster":
            plain = namespace["metadata"]["name"]
            if cluster in str(item.get("message")):
                return f'error when evicting namespace "{plain}" (will retry): {item["message"]}'
    return ""


def places(namespace: dict[str, Any]) -> dict[str, str]:
    """Clusters that a namespace has to do with → Sync (it runs there) or Leave (until it runs elsewhere)."""
    labels: dict[str, str] = namespace["metadata"].get("labels") or {}
    label = labels.get(LABEL)
    if label != SEVERAL:
        return {label: "Sync"} if label else {}
    return {key.removeprefix(STATE): value for key, value in sorted(labels.items()) if key.startswith(STATE)}


def _cordon(client: RestClient, name: str) -> None:
    if (cluster_of(client, name).get("spec") or {}).get("unschedulable"):
        click.echo(f"workloadcluster/{name} already cordoned")
        return
    _change(client, name, {"unschedulable": True})
    click.echo(f"workloadcluster/{name} cordoned")


def cluster_of(client: RestClient, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.request("GET", f"{CLUSTERS}/{segment(name)}")
    except StatusError as error:
        if error.code == 404 and error.details.get("kind") != "workloadclusters":
            raise no_clusters() from error
        raise
    return found


def no_clusters() -> click.ClickException:
    return click.ClickException("this workspace has no WorkloadClusters: only Universal workspaces do")


def _change(client: RestClient, name: str, spec: dict[str, Any]) -> None:
    path = f"{CLUSTERS}/{segment(name)}"
    client.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")


def duration(value: str) -> float:
    """Seconds of ``90s``, ``5m``, ``1h30m``, or of a bare 0."""
    parts = re.findall(r"(\d+)([smh])", value)
    if (value != "0" and "".join(number + unit for number, unit in parts) != value) or not value:
        raise Plain(f"{value!r} is not a duration such as 30s or 5m")
    return float(sum(int(number) * _UNITS[unit] for number, unit in parts))
