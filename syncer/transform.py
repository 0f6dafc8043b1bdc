"""Objects on their way down: what the physical cluster is asked for. Pure."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from syncer.names import CLUSTER_LABEL, name_below

Object = dict[str, Any]

TOKEN_SECRET = "kcp-default-token"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME = "kcp-api-access"
POD_ENVIRONMENT = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS")
_META = ("name", "labels", "annotations")
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object goes, and how pods there reach their workspace."""

    namespace: str
    cluster: str
    server: str
    """URL of the workspace; pods get host and port of it."""


def skipped(plural: str, obj: Object) -> bool:
    """What is never taken down: tokens that belong to the API server they were made by."""
    return plural == "secrets" and obj.get("type") == "kubernetes.io/service-account-token"


def down(plural: str, group: str, obj: Object, place: Place) -> Object:
    """The object below: without what the API server above keeps for itself, renamed, with its kind's particulars."""
    meta = obj["metadata"]
    below: Object = {key: copy.deepcopy(value) for key, value in obj.items() if key not in ("metadata", "status")}
    below["metadata"] = {key: copy.deepcopy(meta[key]) for key in _META if meta.get(key)}
    below["metadata"]["namespace"] = place.namespace
    below["metadata"]["name"] = name_below(plural, meta["name"])
    annotations = below["metadata"].get("annotations") or {}
    annotations.pop(LAST_APPLIED, None)
    if not annotations:
        below["metadata"].pop("annotations", None)
    below["metadata"]["labels"] = {**(below["metadata"].get("labels") or {}), CLUSTER_LABEL: place.cluster}
    rule = RULES.get((group, plural))
    if rule is not None:
        rule(below, place)
    return below


def _deployment(obj: Object, place: Place) -> None:
    template = obj.get("spec", {}).get("template", {})
    pod = template.get("spec")
    if isinstance(pod, dict):
        pod_spec(pod, place)


def pod_spec(pod: Object, place: Place) -> None:
    """Pods talk to their workspace: its address in the environment, its token and CA at the usual path."""
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
    for container in [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]:
        own = {item.get("name") for item in container.get("env") or ()}
        added = [{"name": name, "value": value} for name, value in environment.items() if name not in own]
        container["env"] = [*(container.get("env") or ()), *added]
        mounts = container.get("volumeMounts") or []
        if not any(mount.get("mountPath") == TOKEN_PATH for mount in mounts):
            container["volumeMounts"] = [*mounts, {"name": VOLUME, "mountPath": TOKEN_PATH, "readOnly": True}]
    if any(volume.get("name") == VOLUME for volume in pod.get("volumes") or ()):
        return
    sources = [
        {
            "secret": {
                "name": TOKEN_SECRET,
                "items": [{"key": "token", "path": "token"}, {"key": "namespace", "path": "namespace"}],
            }
        },
        {
            "configMap": {
                "name": name_below("configmaps", "kube-root-ca.crt"),
                "items": [{"key": "ca.crt", "path": "ca.crt"}],
            }
        },
    ]
    volume = {"name": VOLUME, "projected": {"defaultMode": 0o644, "sources": sources}}
    pod["volumes"] = [*(pod.get("volumes") or ()), volume]


def _service(obj: Object, place: Place) -> None:
    # Addresses and ports are given by the cluster that uses them; those of the shard mean nothing below.
    spec = obj.get("spec", {})
    if spec.get("clusterIP") != "None":
        for key in ("clusterIP", "clusterIPs"):
            spec.pop(key, None)
    for key in ("healthCheckNodePort", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
        spec.pop(key, None)
    for port in spec.get("ports") or ():
        port.pop("nodePort", None)


def _service_account(obj: Object, place: Place) -> None:
    obj.pop("secrets", None)


def _claim(obj: Object, place: Place) -> None:
    obj.get("spec", {}).pop("volumeName", None)


RULES = {
    ("apps", "deployments"): _deployment,
    ("apps", "statefulsets"): _deployment,
    ("apps", "daemonsets"): _deployment,
    ("", "services"): _service,
    ("", "serviceaccounts"): _service_account,
    ("", "persistentvolumeclaims"): _claim,
}


def needs_token(plural: str, group: str) -> bool:
    """Whether an object of that kind brings pods that mount the workspace's token."""
    return (group, plural) in (("apps", "deployments"), ("apps", "statefulsets"), ("apps", "daemonsets"))


def status_above(above: Object, below: Object) -> Object:
    """The status to write above. Generations are each server's own: what was observed below is said in terms of the
    generation above, so that clients that wait for it understand."""
    status: Object = copy.deepcopy(below.get("status") or {})
    if "observedGeneration" in status:
        current = status["observedGeneration"] == below["metadata"].get("generation")
        generation = int(above["metadata"].get("generation") or 1)
        status["observedGeneration"] = generation if current else generation - 1
    return status
