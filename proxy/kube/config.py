"""Kubeconfig files: read one into a `Connection`, write one safely.

Format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ (clusters, users, contexts, current-context).
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ConfigError(Exception):
    """A kubeconfig that cannot be used; the message is one line that names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one API server and as whom."""

    server: str
    """Base URL, e.g. ``https://127.0.0.1:6443/clusters/root``; no trailing slash."""
    ca_data: bytes | None = None
    """PEM; None trusts the system's CAs."""
    client_cert_data: bytes | None = field(default=None, repr=False)
    client_key_data: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: str | None = None
    """Read again for each new request, as tokens in pods are rotated."""
    insecure: bool = False
    tls_server_name: str | None = None
    guard: Callable[[str], None] | None = field(default=None, repr=False, compare=False)
    """Called with each address (no name) that is about to be connected to; raises OSError for one that must not be."""

    def ssl_context(self) -> ssl.SSLContext | None:
        """Context for the client side, or None for plain http."""
        if not self.server.startswith("https://"):
            return None
        context = ssl.create_default_context(cadata=self.ca_data.decode() if self.ca_data else None)
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.client_cert_data and self.client_key_data:
            _load_cert_chain(context, self.client_cert_data, self.client_key_data)
        return context

    def bearer(self) -> str | None:
        """The token to send now, if any."""
        if self.token_file:
            return Path(self.token_file).read_text().strip()
        return self.token


def _load_cert_chain(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    # The ssl module takes files only; a pair of pipes would block on large keys, so a private folder it is.
    with tempfile.TemporaryDirectory(prefix="kcp-") as folder:
        cert_file, key_file = Path(folder, "tls.crt"), Path(folder, "tls.key")
        for path, data in ((cert_file, cert), (key_file, key)):
            path.touch(mode=0o600)
            path.write_bytes(data)
        # Without a password OpenSSL asks for one, on the terminal, where a key is encrypted.
        context.load_cert_chain(cert_file, key_file, password="")


def load_kubeconfig(source: str | Path | Mapping[str, Any], context: str | None = None) -> Connection:
    """The connection of ``context`` (default: the current one) in a kubeconfig file or its decoded content.

    Raises ConfigError where the file is missing or malformed or names what is not in it.
    """
    if isinstance(source, Mapping):
        config: Any = source
        folder, label = Path(), "kubeconfig"
    else:
        path = Path(source)
        folder, label = path.parent, str(path)
        try:
            config = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        except OSError as error:
            raise ConfigError(f"{label}: {error.strerror or error}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{label}: not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(config, Mapping):
        raise ConfigError(f"{label}: not a kubeconfig")
    name = context or config.get("current-context")
    if not name:
        raise ConfigError(f"{label}: no context is set as current-context")
    chosen = _entry(config, "contexts", name, "context", label)
    cluster = _entry(config, "clusters", chosen.get("cluster"), "cluster", label)
    user = _entry(config, "users", chosen.get("user"), "user", label) if chosen.get("user") else {}
    server = cluster.get("server")
    if not isinstance(server, str) or not server:
        raise ConfigError(f"{label}: cluster {chosen.get('cluster')!r} has no server")
    return Connection(
        server=server.rstrip("/"),
        ca_data=_data(cluster, "certificate-authority", folder, label),
        client_cert_data=_data(user, "client-certificate", folder, label),
        client_key_data=_data(user, "client-key", folder, label),
        token=user.get("token"),
        token_file=str(folder / user["tokenFile"]) if user.get("tokenFile") else None,
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=cluster.get("tls-server-name"),
    )


def in_cluster() -> Connection:
    """The connection that a pod's environment and service account give. Raises ConfigError outside of a pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (SERVICE_ACCOUNT / "token").exists():
        raise ConfigError("not in a pod: KUBERNETES_SERVICE_HOST or the service account's token is missing")
    return Connection(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca_data=(SERVICE_ACCOUNT / "ca.crt").read_bytes(),
        token_file=str(SERVICE_ACCOUNT / "token"),
    )


def write_kubeconfig(path: str | Path, config: Mapping[str, Any]) -> None:
    """Write atomically with mode 0600: readers see the old file or the new one, others nothing."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "w") as file:
            yaml.safe_dump(dict(config), file, sort_keys=False)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _entry(config: Mapping[str, Any], kind: str, name: Any, key: str, label: str) -> Mapping[str, Any]:
    for entry in config.get(kind) or ():
        if isinstance(entry, Mapping) and entry.get("name") == name:
            value = entry.get(key)
            return value if isinstance(value, Mapping) else {}
    raise ConfigError(f"{label}: {key} {name!r} does not exist")


def _data(entry: Mapping[str, Any], key: str, folder: Path, label: str) -> bytes | None:
    if entry.get(f"{key}-data"):
        try:
            return base64.b64decode(str(entry[f"{key}-data"]), validate=True)
        except ValueError as error:
            raise ConfigError(f"{label}: {key}-data is not base64") from error
    if entry.get(key):
        try:
            return (folder / str(entry[key])).read_bytes()
        except OSError as error:
            raise ConfigError(f"{label}: {key} {entry[key]}: {error.strerror}") from error
    return None
