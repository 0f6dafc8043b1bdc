"""The serving certificate, replaced while the proxy runs."""

from __future__ import annotations

import shutil
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.server.handshakes import Handshakes
from proxy.server.tls import ServerTls
from proxy.shard.pki import Authority, KeyPair
from tests.unit.server.test_settings import SETTINGS


def pair(folder: Path, name: str) -> KeyPair:
    place = folder / name
    place.mkdir()
    return Authority(place, "ca").server("serving", ["localhost"])


def served(context: ssl.SSLContext) -> bytes:
    """The certificate that a client gets, in a handshake without a network."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(5):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
    certificate = client.getpeercert(binary_form=True)
    assert certificate
    return certificate


def test_new_files_are_for_new_connections(tmp_path: Path) -> None:
    old, new = pair(tmp_path, "old"), pair(tmp_path, "new")
    cert, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    shutil.copy(old.cert_file, cert)
    shutil.copy(old.key_file, key)
    settings = replace(SETTINGS, cert_file=str(cert), key_file=str(key), client_ca_file=None)
    tls = ServerTls(settings, Handshakes())
    first = served(tls.context)
    tls.refresh()
    assert served(tls.context) == first

    shutil.copy(new.cert_file, cert)  # its key is not there yet
    tls.refresh()
    assert served(tls.context) == first
    cert.unlink()
    tls.refresh()
    assert served(tls.context) == first

    shutil.copy(new.cert_file, cert)
    shutil.copy(new.key_file, key)
    tls.refresh()
    [certificate] = x509.load_pem_x509_certificates(new.cert_file.read_bytes())[:1]
    assert served(tls.context) == certificate.public_bytes(Encoding.DER) != first


def test_files_that_cannot_be_used_at_the_start(tmp_path: Path) -> None:
    one, other = pair(tmp_path, "one"), pair(tmp_path, "other")
    with pytest.raises(ssl.SSLError):
        ServerTls(replace(SETTINGS, cert_file=str(one.cert_file), key_file=str(other.key_file)), Handshakes())
