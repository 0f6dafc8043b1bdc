"""``kubectl kcp workload sync NAME --shared``: one syncer on a cluster for many workspaces.

What is printed is the manifest of a syncer of one's own, in other places: the syncer is in a namespace that all share,
and the workspace is a Secret in it, with a token that is good in that workspace alone.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from syncer.names import SHARED, SHARED_KUBECONFIG, SHARED_SETTINGS

NAMESPACE = "kcp-syncer"

Object = dict[str, Any]


def shared(manifest: str, settings: Object, *, image: str | None) -> str:
    """YAML for ``kubectl apply``: what the workspace adds, and with an ``image`` the syncer itself."""
    objects = [obj for obj in yaml.safe_load_all(manifest) if obj]
    by_kind: dict[str, Object] = {obj["kind"]: obj for obj in objects}
    config = next(obj for obj in objects if obj["metadata"]["name"] == "kcp-syncer-config")
    name: str = by_kind["ClusterRole"]["metadata"]["name"]
    for subject in by_kind["ClusterRoleBinding"]["subjects"]:
        subject["namespace"] = NAMESPACE
    ours = [by_kind["ClusterRole"], by_kind["ClusterRoleBinding"], _secret(f"{name}-token"), _secret(name)]
    ours[-1]["metadata"]["labels"] = {SHARED: ""}
    ours[-1]["stringData"] = {
        SHARED_SETTINGS: json.dumps(settings),
        SHARED_KUBECONFIG: json.dumps(yaml.safe_load(config["stringData"]["kubeconfig"])),
    }
    return yaml.safe_dump_all([*(_syncer(by_kind) if image else ()), *ours], sort_keys=False)


def _secret(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}}


def _syncer(by_kind: dict[str, Object]) -> list[Object]:
    """The same for all workspaces, so that adding one restarts nothing."""
    by_kind["Namespace"]["metadata"] = {"name": NAMESPACE}
    parts = [by_kind[kind] for kind in ("ServiceAccount", "Role", "RoleBinding", "Deployment")]
    for part in parts:
        part["metadata"]["namespace"] = NAMESPACE
    by_kind["Role"]["rules"] = [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "patch", "watch"]}
    ]
    by_kind["RoleBinding"]["subjects"][0]["namespace"] = NAMESPACE
    del by_kind["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    del pod["volumes"], pod["containers"][0]["volumeMounts"]
    pod["containers"][0]["args"] = [f"--from-secrets={NAMESPACE}", "--metrics-bind-address=:9465"]
    return [by_kind["Namespace"], *parts]
