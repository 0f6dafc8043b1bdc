"""Keys and certificates: private, kept, and made again only where they must be."""

from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.shard import pki
from proxy.shard.pki import Authority, KeyPair, PkiError, private_folder, signing_key, write_private


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return private_folder(tmp_path / "pki")


def load(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert)


def test_authority_is_kept(folder: Path) -> None:
    assert Authority(folder, "x").cert == Authority(folder, "x").cert


def test_authorities_have_names_of_their_own(tmp_path: Path) -> None:
    """Or a client that trusts two of them would try the wrong one."""
    subjects = {
        x509.load_pem_x509_certificate(Authority(private_folder(tmp_path / name), "x").cert).subject for name in "ab"
    }
    assert len(subjects) == 2


def test_server_certificate_fits_and_is_kept(folder: Path) -> None:
    authority = Authority(folder, "x")
    pair = authority.server("www", ["localhost", "127.0.0.1", "::1"])
    cert = load(pair)
    cert.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.cert))
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert {str(ip) for ip in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert list(cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert authority.server("www", ["::1", "127.0.0.1", "localhost"]).cert == pair.cert


def test_server_certificate_follows_the_hosts(folder: Path) -> None:
    authority = Authority(folder, "x")
    before = authority.server("www", ["a"]).cert
    assert authority.server("www", ["a", "b"]).cert != before


def test_client_certificate_names_user_and_groups(folder: Path) -> None:
    subject = load(Authority(folder, "x").client("c", user="alice", groups=["dev", "ops"])).subject
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["alice"]
    assert [a.value for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["dev", "ops"]


def test_client_certificate_follows_its_user(folder: Path) -> None:
    authority = Authority(folder, "x")
    before = authority.client("c", user="alice").cert
    assert authority.client("c", user="alice").cert == before
    assert authority.client("c", user="bob").cert != before


def test_renewed_in_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(folder, "x")
    before = authority.client("c", user="alice").cert
    now = pki._now()
    monkeypatch.setattr(pki, "_now", lambda: now + pki.LEAF_LIFE - pki.RENEW_BEFORE - datetime.timedelta(days=1))
    assert authority.client("c", user="alice").cert == before
    monkeypatch.setattr(pki, "_now", lambda: now + pki.LEAF_LIFE - pki.RENEW_BEFORE + datetime.timedelta(days=1))
    assert authority.client("c", user="alice").cert != before


def test_what_a_wrong_clock_has_made_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(folder, "x")
    now = pki._now()
    monkeypatch.setattr(pki, "_now", lambda: now + datetime.timedelta(days=500))
    ahead = authority.server("www", ["a"]).cert
    monkeypatch.setattr(pki, "_now", lambda: now)
    again = load(authority.server("www", ["a"]))
    assert again.not_valid_before_utc <= now < x509.load_pem_x509_certificate(ahead).not_valid_before_utc


@pytest.mark.parametrize(("days", "says"), [(-1, "set the clock"), (3651, "remove it and x-ca.key; a new one is made")])
def test_authority_that_has_ended_or_not_begun(
    folder: Path, monkeypatch: pytest.MonkeyPatch, days: int, says: str
) -> None:
    kept = Authority(folder, "x").cert
    now = pki._now()
    monkeypatch.setattr(pki, "_now", lambda: now + datetime.timedelta(days=days))
    with pytest.raises(PkiError, match=says) as failure:
        Authority(folder, "x")
    assert len(str(failure.value).splitlines()) == 1
    assert (folder / "x-ca.crt").read_bytes() == kept


def test_leaf_never_outlives_its_authority(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(folder, "x")
    end = x509.load_pem_x509_certificate(authority.cert).not_valid_after_utc
    monkeypatch.setattr(pki, "_now", lambda: end - datetime.timedelta(days=1))
    assert load(authority.client("c", user="alice")).not_valid_after_utc == end


def test_certificate_of_another_authority_is_replaced(tmp_path: Path, folder: Path) -> None:
    pair = Authority(folder, "x").client("c", user="alice")
    foreign = Authority(private_folder(tmp_path / "other"), "x").client("c", user="alice")
    write_private(pair.cert_file, foreign.cert)
    write_private(pair.key_file, foreign.key)
    authority = Authority(folder, "x")
    load(authority.client("c", user="alice")).verify_directly_issued_by(x509.load_pem_x509_certificate(authority.cert))


@pytest.mark.parametrize("damage", ["cert", "key", "cert gone", "key gone"])
def test_damaged_certificate_is_made_again(folder: Path, damage: str) -> None:
    authority = Authority(folder, "x")
    pair = authority.client("c", user="alice")
    path = pair.cert_file if damage.startswith("cert") else pair.key_file
    if damage.endswith("gone"):
        path.unlink()
    else:
        path.write_text("nonsense")
    again = authority.client("c", user="alice")
    assert load(again).public_key() is not None
    assert authority.client("c", user="alice").cert == again.cert


@pytest.mark.parametrize("content", ["nonsense", "other"])
def test_damaged_authority_is_never_made_again(tmp_path: Path, folder: Path, content: str) -> None:
    """Clients have embedded it: a new one would lock them out without a word."""
    authority = Authority(folder, "x")
    other = Authority(private_folder(tmp_path / "other"), "x")
    path = authority.files.key_file
    path.write_bytes(other.files.key if content == "other" else b"nonsense")
    with pytest.raises(PkiError, match=r"x-ca\.(key|crt)"):
        Authority(folder, "x")


def test_signing_key_is_kept_and_its_public_half_restored(folder: Path) -> None:
    files = signing_key(folder)
    private, public = files.private_file.read_bytes(), files.public_file.read_bytes()
    files.public_file.write_text("nonsense")
    again = signing_key(folder)
    assert (again.private_file.read_bytes(), again.public_file.read_bytes()) == (private, public)


def test_everything_is_private(tmp_path: Path) -> None:
    open_to_all = tmp_path / "pki"
    open_to_all.mkdir(mode=0o755)
    folder = private_folder(open_to_all)
    Authority(folder, "x").server("www", ["a"])
    signing_key(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 6, "no temporary files are left"
