"""What the tests of this folder share."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.tenancy.index import Workspace

WORKSPACE = Workspace("root:org:team", "kabcdefgh", "Universal", "Ready", "alice", "main")
OTHER = Workspace("root:org:other", "kzzzzzzzz", "Universal", "Ready", "bob", "main")


class Asking:
    """A request as far as authentication looks at it."""

    def __init__(self, authorization: bytes = b"", peer_cert: bytes | None = None) -> None:
        self.authorization = authorization
        self.peer_cert = peer_cert

    def header(self, name: bytes) -> bytes:
        return self.authorization if name == b"authorization" else b""


def certificate(names: Sequence[str] = ("alice",), organizations: Sequence[str] = (), *, days: int = 1) -> bytes:
    """DER of a certificate for its own key; a negative number of ``days`` makes one that is over."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    attributes += [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(attributes))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(until - datetime.timedelta(days=30))
        .not_valid_after(until)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)
