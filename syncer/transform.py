"""Objects on their way down and their status on its way up. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from proxy.kube.errors import StatusError
from syncer.names import CLUSTER_LABEL, RENAMED, SYNCED_UP, TOKEN_SECRET, UID, name_below
from syncer.role import SPEC_DIFF, STATUS

Object = dict[str, Any]

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME = "kcp-api-access"
POD_ENVIRONMENT = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

POD_SPECS: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "replicationcontrollers"): ("spec", "template", "spec"),
    ("apps", "daemonsets"): ("spec", "template", "spec"),
    ("apps", "deployments"): ("spec", "template", "spec"),
    ("apps", "replicasets"): ("spec", "template", "spec"),
    ("apps", "statefulsets"): ("spec", "template", "spec"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template", "spec"),
    ("batch", "jobs"): ("spec", "template", "spec"),
}
"""Where kinds that bring pods have the pods' spec."""

JOB_LABELS = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name")
"""Given to a Job's pods by the API server that it is created on."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object goes, and how pods there reach their workspace."""

    namespace: str
    cluster: str
    server: str
    """URL of the workspace; pods get host and port of it."""


KEPT_ABOVE = frozenset(
    {
        "kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token", "helm.sh/release.v1",
        "workload.kcp.dev/kubeconfig",
    }
)  # fmt: skip
"""Types of Secrets that mean something only to the API server, or the client of it, that they were made by."""
EXACT: dict[tuple[str, str], tuple[str, ...]] = {("", "configmaps"): ("data", "binaryData"), ("", "secrets"): ("data",)}
"""Fields to which nobody adds anything below: programs read all that they find there."""


def skipped(plural: str, obj: Object) -> bool:
    """What is never taken down."""
    if SYNCED_UP in (obj["metadata"].get("labels") or ()):
        return True  # it has come from a cluster
    return plural == "secrets" and obj.get("type") in KEPT_ABOVE


def surplus(group: str, plural: str, wanted: Object, found: Object) -> Object:
    """The JSON merge patch that takes from ``found`` what others have added to fields that are to be exact."""
    patch: Object = {}
    for field in EXACT.get((group, plural), ()):
        more = set(found.get(field) or ()) - set(wanted.get(field) or ())
        if more:
            patch[field] = dict.fromkeys(sorted(more))
    return patch


def needs_token(group: str, plural: str) -> bool:
    """Whether an object of that kind brings pods that mount the workspace's token."""
    return (group, plural) in POD_SPECS


def down(group: str, plural: str, obj: Object, place: Place) -> Object:
    """The object below: without what the API server above keeps for itself, renamed, with its kind's particulars."""
    meta = obj["metadata"]
    below: Object = {key: copy.deepcopy(value) for key, value in obj.items() if key not in ("metadata", "status")}
    annotations = {
        key: value
        for key, value in (meta.get("annotations") or {}).items()
        if key != LAST_APPLIED and not key.startswith((SPEC_DIFF, STATUS))
    }
    below["metadata"] = {
        "name": name_below(plural, meta["name"]),
        "namespace": place.namespace,
        "labels": {**(meta.get("labels") or {}), CLUSTER_LABEL: place.cluster},
        "annotations": {**annotations, UID: meta["uid"]},
    }
    rule = RULES.get((group, plural))
    if rule is not None:
        rule(below)
    if (group, plural) in POD_SPECS:
        pod: Any = below
        for key in POD_SPECS[group, plural]:
            pod = pod.get(key) or {}
        if pod:
            pod_spec(pod, place)
    return below


def pod_spec(pod: Object, place: Place) -> None:
    """Pods talk to their workspace: its address in the environment, its token and CA at the usual path.

    Only pods of the default service account get a token, and only if they did not ask for none.
    """
    for reference in _config_maps(pod):
        reference["name"] = name_below("configmaps", reference["name"])
    account = pod.get("serviceAccountName") or pod.get("serviceAccount") or "default"
    if account == "default":
        pod["serviceAccountName"] = name_below("serviceaccounts", "default")
        if "serviceAccount" in pod:
            pod["serviceAccount"] = pod["serviceAccountName"]
    automount = pod.get("automountServiceAccountToken")
    pod["automountServiceAccountToken"] = False
    if automount is False or account != "default":
        return
    url = urlsplit(place.server)
    port = str(url.port or 443)
    environment = dict(zip(POD_ENVIRONMENT, (url.hostname or "", port, port), strict=True))
    for container in _containers(pod):
        own = {item.get("name") for item in container.get("env") or ()}
        added = [{"name": name, "value": value} for name, value in environment.items() if name not in own]
        container["env"] = [*(container.get("env") or ()), *added]
        mounts = container.get("volumeMounts") or []
        if not any(mount.get("mountPath") == TOKEN_PATH for mount in mounts):
            container["volumeMounts"] = [*mounts, {"name": VOLUME, "mountPath": TOKEN_PATH, "readOnly": True}]
    if not any(volume.get("name") == VOLUME for volume in pod.get("volumes") or ()):
        pod["volumes"] = [*(pod.get("volumes") or ()), {"name": VOLUME, "projected": _access()}]


def _access() -> Object:
    """What pods find at `TOKEN_PATH`."""
    token = [{"key": "token", "path": "token"}, {"key": "namespace", "path": "namespace"}]
    ca = [{"key": "ca.crt", "path": "ca.crt"}]
    return {
        "defaultMode": 0o644,
        "sources": [
            {"secret": {"name": TOKEN_SECRET, "items": token}},
            {"configMap": {"name": RENAMED["configmaps", "kube-root-ca.crt"], "items": ca}},
        ],
    }


def _containers(pod: Object) -> list[Object]:
    return [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]


def _config_maps(pod: Object) -> Iterator[Object]:
    """All references to ConfigMaps by name."""
    for volume in pod.get("volumes") or ():
        sources = (volume.get("projected") or {}).get("sources") or ()
        yield from (source["configMap"] for source in (volume, *sources) if (source.get("configMap") or {}).get("name"))
    for container in _containers(pod):
        named = [item.get("configMapRef") for item in container.get("envFrom") or ()]
        named += [(item.get("valueFrom") or {}).get("configMapKeyRef") for item in container.get("env") or ()]
        yield from (reference for reference in named if reference and reference.get("name"))


def _service(obj: Object) -> None:
    # Addresses and ports are given by the cluster that uses them; those of the shard mean nothing below.
    spec = obj.get("spec", {})
    if spec.get("clusterIP") != "None":
        for key in ("clusterIP", "clusterIPs"):
            spec.pop(key, None)
    for key in ("healthCheckNodePort", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
        spec.pop(key, None)
    for port in spec.get("ports") or ():
        port.pop("nodePort", None)


def _service_account(obj: Object) -> None:
    obj.pop("secrets", None)


BOUND = ("pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/storage-provisioner")
"""Annotations by which one cluster's controllers remember what a claim is bound to."""


def _claim(obj: Object) -> None:
    obj.get("spec", {}).pop("volumeName", None)
    annotations = obj["metadata"]["annotations"]
    for key in [key for key in annotations if key.startswith(BOUND)]:
        del annotations[key]


def _job(obj: Object) -> None:
    # Each API server gives a selector of its own, made of the uid that the Job has there.
    spec = obj.get("spec", {})
    if spec.get("manualSelector"):
        return
    spec.pop("selector", None)
    labels = spec.get("template", {}).get("metadata", {}).get("labels") or {}
    for key in JOB_LABELS:
        labels.pop(key, None)


RULES: dict[tuple[str, str], Callable[[Object], None]] = {
    ("", "persistentvolumeclaims"): _claim,
    ("", "serviceaccounts"): _service_account,
    ("", "services"): _service,
    ("batch", "jobs"): _job,
}


def status_above(status: Object, above: int | None, below: int | None) -> Object:
    """The status to write above, of the one below. Generations are each server's own: what was observed of generation
    ``below`` is said in terms of generation ``above``, so that clients that wait for it understand."""
    if "observedGeneration" not in status:
        return status
    generation = above or 1
    return {**status, "observedGeneration": generation if status["observedGeneration"] == below else generation - 1}


def merge_patch(before: Object, after: Object) -> Object:
    """The JSON merge patch (RFC 7396) that makes ``after`` of ``before``; empty if they are equal."""
    patch: Object = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            inner = merge_patch(old, value)
            if inner:
                patch[key] = inner
        elif key not in before or old != value:
            patch[key] = value
    return patch


def without_refused(status: Object, error: StatusError) -> Object:
    """A patch of a status without the fields that an API server names as invalid; empty if it names none of them."""
    named = [str(cause.get("field") or "") for cause in error.causes]
    refused = {re.split(r"[.\[]", field)[1] for field in named if field.startswith("status.")}
    return {key: value for key, value in status.items() if key not in refused} if refused & status.keys() else {}
