"""Configurations in the other encodings that clients of native kinds use."""

from __future__ import annotations

from proxy.mapping.protobuf import MAGIC
from proxy.mapping.wire import field
from tests.integration.admission.side import VALIDATING, Side, same

PROTOBUF, YAML = "application/vnd.kubernetes.protobuf", "application/yaml"


def protobuf(version: str = "", *, timeout: bytes = b"\x05") -> bytes:
    """Field numbers: ``generated.proto`` of k8s.io/api/admissionregistration/v1."""
    meta = field(1, b"encoded") + (field(6, version.encode()) if version else b"")
    hook = (
        field(1, b"a.example.com") + field(2, field(3, b"https://hooks.example.com/")) + field(6, b"None")
        + b"\x38" + timeout + field(8, b"v1")
    )  # fmt: skip
    kind = field(1, b"admissionregistration.k8s.io/v1") + field(2, b"ValidatingWebhookConfiguration")
    return MAGIC + field(1, kind) + field(2, field(1, meta) + field(2, hook))


async def test_protobuf_and_yaml(plain: Side, workspace: Side) -> None:
    one = VALIDATING.path(name="encoded")
    text = (
        b"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n"
        b"metadata: {name: encoded}\nwebhooks: [{name: b.example.com, sideEffects: None,\n"
        b"  admissionReviewVersions: [v1], clientConfig: {url: 'https://hooks.example.com/'}}]\n"
    )
    for said in [
        ("POST", VALIDATING.path(), protobuf(timeout=b"\x7f"), PROTOBUF),
        ("POST", VALIDATING.path(), protobuf(), PROTOBUF),
        ("GET", one, None, ""),
        ("PUT", one, protobuf("1"), PROTOBUF),
        ("DELETE", one, None, ""),
        ("POST", VALIDATING.path(), text, YAML),
        ("DELETE", one, {"kind": "DeleteOptions", "apiVersion": "admissionregistration.k8s.io/v1"}, "application/json"),
    ]:
        expected, got = await plain.send(*said), await workspace.send(*said)
        same(got, expected, said)
