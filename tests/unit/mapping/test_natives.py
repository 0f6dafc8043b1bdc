"""Native kinds: what is refused of them, and the PriorityClasses that all share."""

from __future__ import annotations

import pytest

from proxy.kube.errors import StatusError
from proxy.mapping.gate import gate
from proxy.mapping.natives import SYSTEM_CLASSES, importable
from proxy.mapping.paths import parse
from proxy.mapping.request import MappedRequest, map_request
from proxy.mapping.scopes import NoCRDs

TOKEN = "k3fq7zn2a"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
PODS = "/api/v1/namespaces/a/pods"


def mapped(method: str, path: str, body: bytes = b"") -> MappedRequest:
    info = parse(method.encode(), path.encode())
    media = b"application/merge-patch+json" if method == "PATCH" else b"application/json"
    headers = [(b"content-type", media)]
    return map_request(info, TOKEN, method=method.encode(), headers=headers, body=body, scopes=NoCRDs())


@pytest.mark.parametrize("name", sorted(SYSTEM_CLASSES))
def test_system_classes_are_read_where_they_are(name: str) -> None:
    request = mapped("GET", f"{CLASSES}/{name}")
    assert request.target.startswith(f"{CLASSES}/{name}?".encode())
    assert request.attributes.name == f"{TOKEN}-{name}", "rules of the workspace name it like any other"
    gate(b"GET", request.target, b"", TOKEN)


@pytest.mark.parametrize(
    ("method", "code"), [("DELETE", 403), ("PUT", 403), ("PATCH", 403)]
)  # fmt: skip
def test_system_classes_are_nobodys_to_write(method: str, code: int) -> None:
    path = f"{CLASSES}/system-node-critical"
    with pytest.raises(StatusError) as refused:
        mapped(method, path, b"{}" if method != "DELETE" else b"")
    assert refused.value.code == code
    with pytest.raises(StatusError):
        gate(method.encode(), path.encode(), b"", TOKEN)


@pytest.mark.parametrize(("name", "code"), [("system-node-critical", 409), ("system-mine", 422)])
def test_names_of_the_system_cannot_be_taken(name: str, code: int) -> None:
    with pytest.raises(StatusError) as refused:
        mapped("POST", CLASSES, b'{"metadata":{"name":"%s"},"value":1}' % name.encode())
    assert refused.value.code == code


def test_classes_of_others_are_out_of_reach() -> None:
    for path in (f"{CLASSES}/kzzzzzzzz-high", "/apis/storage.k8s.io/v1/storageclasses/system-node-critical"):
        with pytest.raises(StatusError):
            gate(b"GET", path.encode(), b"", TOKEN)


@pytest.mark.parametrize(
    ("path", "code"),
    [(f"{PODS}/p/{sub}", 400) for sub in ("attach", "exec", "log", "portforward", "proxy")]
    + [(f"{PODS}/p/binding", 403), ("/api/v1/namespaces/a/services/s/proxy", 503)],
)
def test_what_needs_a_node_says_so(path: str, code: int) -> None:
    with pytest.raises(StatusError) as refused:
        mapped("POST", path, b"{}")
    assert refused.value.code == code
    assert TOKEN not in refused.value.message


def test_what_acts_on_the_whole_shard_is_not_importable() -> None:
    for kind in (("", "nodes"), ("networking.k8s.io", "servicecidrs"), ("networking.k8s.io", "ipaddresses"),
                 ("admissionregistration.k8s.io", "validatingwebhookconfigurations"), ("", "namespaces"),
                 ("apiregistration.k8s.io", "apiservices"), ("", "componentstatuses")):  # fmt: skip
        assert not importable(*kind)
    assert importable("apps", "deployments")
    assert importable("storage.k8s.io", "storageclasses")
