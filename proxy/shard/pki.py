"""Certificate authorities, certificates and keys of an embedded control plane, kept as files in one private folder.

EC P-256 throughout: a key takes a millisecond to make, so whatever is missing, near its end or no longer fitting is
simply made again at start. Authorities are never made again while their files are whole: clients have embedded them.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = datetime.timedelta(days=3650)
LEAF_LIFE = datetime.timedelta(days=730)
RENEW_BEFORE = datetime.timedelta(days=365)
"""A certificate with less life than this is issued anew at start, so that a process may run for a year."""
BACKDATE = datetime.timedelta(hours=1)
"""Clocks of clients may be behind."""


class PkiError(Exception):
    """A key or certificate on disk that cannot be used; one line that names the file."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its key, as PEM files of mode 0600."""

    cert_file: Path
    key_file: Path

    @property
    def cert(self) -> bytes:
        return self.cert_file.read_bytes()

    @property
    def key(self) -> bytes:
        return self.key_file.read_bytes()


class Authority:
    """A certificate authority: ``<folder>/<name>-ca.crt`` and ``.key``, made at first use.

    Raises PkiError where the files exist but do not belong together, and where it has ended or not begun: making a new
    authority would lock out clients.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.files = KeyPair(folder / f"{name}-ca.crt", folder / f"{name}-ca.key")
        loaded = _load_pair(self.files)
        if loaded is None:
            loaded = _new_authority(name)
            _save_pair(self.files, *loaded)
        self._cert, self._key = loaded
        self._check_times()

    def _check_times(self) -> None:
        now, begin, end = _now(), self._cert.not_valid_before_utc, self._cert.not_valid_after_utc
        if now < begin:
            raise PkiError(f"{self.cert_file} begins at {begin:%F %T} UTC, and it is {now:%F %T}: set the clock")
        if now >= end:
            raise PkiError(
                f"{self.cert_file} has ended at {end:%F %T} UTC, and it is {now:%F %T}: if the clock is right, remove "
                f"it and {self.files.key_file.name}; a new one is made, which clients have to be given"
            )

    @property
    def cert_file(self) -> Path:
        return self.files.cert_file

    @property
    def cert(self) -> bytes:
        """PEM."""
        return self._cert.public_bytes(serialization.Encoding.PEM)

    def server(self, name: str, hosts: Iterable[str]) -> KeyPair:
        """Serving certificate for DNS names and IP addresses; issued anew when the set of ``hosts`` changes."""
        return self._issue(name, name, (), tuple(sorted(set(hosts))), ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, name: str, *, user: str, groups: Iterable[str] = ()) -> KeyPair:
        """Client certificate as a kube-apiserver reads it: CN is the user, each O a group."""
        return self._issue(name, user, tuple(groups), (), ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self, name: str, common_name: str, groups: tuple[str, ...], hosts: tuple[str, ...], usage: x509.ObjectIdentifier
    ) -> KeyPair:
        files = KeyPair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
            + [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        )
        names = _alternative_names(hosts)
        try:
            existing = _load_pair(files)
        except PkiError:
            existing = None  # unlike an authority's, nobody keeps a copy of it
        if existing and self._still_good(existing[0], subject, names, usage):
            return files
        key = ec.generate_private_key(ec.SECP256R1())
        now = _now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(min(now + LEAF_LIFE, self._cert.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _save_pair(files, builder.sign(self._key, hashes.SHA256()), key)
        return files

    def _still_good(
        self,
        cert: x509.Certificate,
        subject: x509.Name,
        names: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
    ) -> bool:
        try:
            cert.verify_directly_issued_by(self._cert)
        except Exception:  # ValueError, TypeError and InvalidSignature: all of them mean another issuer
            return False
        extensions = cert.extensions
        try:
            have = set(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            have = set()
        uses = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        return (
            cert.subject == subject
            and have == set(names)
            and list(uses) == [usage]
            and cert.not_valid_before_utc <= _now()  # one that a wrong clock has made is not good for years
            and cert.not_valid_after_utc - _now() > RENEW_BEFORE
        )


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Key pair that signs service-account tokens."""

    private_file: Path
    public_file: Path


def signing_key(folder: Path, name: str = "service-account") -> SigningKey:
    """The key in ``<folder>/<name>.key`` and ``.pub``, made at first use; tokens signed with it live on."""
    files = SigningKey(folder / f"{name}.key", folder / f"{name}.pub")
    if files.private_file.exists():
        key = _load_key(files.private_file)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(files.private_file, _key_pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if not files.public_file.exists() or files.public_file.read_bytes() != public:
        write_private(files.public_file, public)
    return files


def private_folder(path: Path) -> Path:
    """Make ``path`` if need be, its parents as well, and close it to everybody else. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.mkdir(exist_ok=True, mode=0o700)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def write_private(path: Path, data: bytes) -> None:
    """Write atomically with mode 0600."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _new_authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    # A serial in the name: OpenSSL finds an issuer by its name, and authorities of several roots meet in one client.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kcp-{name}-ca-{os.urandom(4).hex()}")])
    now = _now()
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return cert, key


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _load_pair(files: KeyPair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
    if not files.cert_file.exists() or not files.key_file.exists():
        return None
    try:
        cert = x509.load_pem_x509_certificate(files.cert)
    except ValueError as error:
        raise PkiError(f"{files.cert_file}: not a certificate") from error
    key = _load_key(files.key_file)
    if cert.public_key() != key.public_key():
        raise PkiError(f"{files.cert_file} does not belong to {files.key_file.name}")
    return cert, key


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"{path}: not a private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{path}: not an EC key")
    return key


def _save_pair(files: KeyPair, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    # The key last: a crash in between leaves a pair that does not fit, which is seen, or none, which is made.
    files.key_file.unlink(missing_ok=True)
    write_private(files.cert_file, cert.public_bytes(serialization.Encoding.PEM))
    write_private(files.key_file, _key_pem(key))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)
