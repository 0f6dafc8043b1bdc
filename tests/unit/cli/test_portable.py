"""What of an object is exported."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.cli.portable import is_left_out, order, portable


def _object(kind: str, *, metadata: dict[str, Any] | None = None, **content: Any) -> dict[str, Any]:
    given = {"name": "a", "uid": "1", "resourceVersion": "7", "managedFields": [], "generation": 2}
    return {"apiVersion": "v1", "kind": kind, "metadata": {**given, **(metadata or {})}, **content}


def test_what_servers_add_is_left_out() -> None:
    found = portable("", "configmaps", _object("ConfigMap", data={"a": "b"}, status={"x": 1}))
    assert found == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "b"}}
    assert list(found)[:3] == ["apiVersion", "kind", "metadata"]


def test_finalizers_of_syncers_are_left_out() -> None:
    both = {"finalizers": ["syncer.workloads.kcp.dev/east", "example.com/mine"]}
    found = portable("", "configmaps", _object("ConfigMap", metadata=both))
    assert found is not None
    assert found["metadata"]["finalizers"] == ["example.com/mine"]
    found = portable("", "configmaps", _object("ConfigMap", metadata={"finalizers": both["finalizers"][:1]}))
    assert found is not None
    assert "finalizers" not in found["metadata"]


@pytest.mark.parametrize(
    ("resource", "obj"),
    [
        ("configmaps", _object("ConfigMap", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})),
        ("configmaps", _object("ConfigMap", metadata={"name": "kube-root-ca.crt"})),
        ("secrets", _object("Secret", type="kubernetes.io/service-account-token")),
        ("pods", _object("Pod", metadata={"ownerReferences": [{"controller": True}]})),
        ("pods", _object("Pod", metadata={"labels": {"workloads.kcp.dev/synced-up": "east"}})),
        ("clusterroles", _object("ClusterRole", metadata={"labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}})),
    ],
)
def test_what_somebody_makes_everywhere_is_not_exported(resource: str, obj: dict[str, Any]) -> None:
    assert portable("" if resource != "clusterroles" else "rbac.authorization.k8s.io", resource, obj) is None


def test_services_get_addresses_of_their_own() -> None:
    spec = {
        "clusterIP": "10.0.0.1",
        "clusterIPs": ["10.0.0.1"],
        "ports": [{"port": 80, "nodePort": 30000}],
        "type": "A",
    }
    found = portable("", "services", _object("Service", spec=spec))
    assert found is not None
    assert found["spec"] == {"ports": [{"port": 80}], "type": "A"}
    found = portable("", "services", _object("Service", spec={"clusterIP": "None", "clusterIPs": ["None"]}))
    assert found is not None
    assert found["spec"] == {"clusterIP": "None"}


def test_jobs_get_a_selector_of_their_own() -> None:
    labels = {"controller-uid": "1", "batch.kubernetes.io/job-name": "a", "mine": "b"}
    spec = {"selector": {"matchLabels": {"controller-uid": "1"}}, "template": {"metadata": {"labels": dict(labels)}}}
    found = portable("batch", "jobs", _object("Job", metadata={"labels": dict(labels)}, spec=spec))
    assert found is not None
    assert found["metadata"]["labels"] == {"mine": "b"}
    assert found["spec"] == {"template": {"metadata": {"labels": {"mine": "b"}}}}
    manual = {"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}}
    found = portable("batch", "jobs", _object("Job", spec=manual))
    assert found is not None
    assert found["spec"] == manual


def test_order() -> None:
    places = [
        ("", "resourcequotas"),
        ("apps", "deployments"),
        ("", "services"),
        ("example.com", "widgets"),
        ("", "namespaces"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    ]
    assert sorted(places, key=lambda place: order(*place)) == [
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("", "namespaces"),
        ("", "services"),
        ("apps", "deployments"),
        ("example.com", "widgets"),
        ("", "resourcequotas"),
    ]
    assert is_left_out("authorization.k8s.io", "subjectaccessreviews")
    assert is_left_out("", "events")
    assert not is_left_out("", "secrets")
