"""The plugins' Kubernetes client: blocking, small, quick to import; authentication as kubectl's.

Bearer tokens, token files, client certificates and exec credential plugins
(https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins).
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.cli.kubeconfig import Kubeconfig, Stanza
from proxy.cli.servers import Servers, Unreachable
from proxy.kube.errors import StatusError


class ClientError(Exception):
    """A request that could not be made; one line."""


@dataclass(slots=True, kw_only=True)
class Overrides:
    """kubectl's usual flags; None where not given."""

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    user: str | None = None
    server: str | None = None
    token: str | None = field(default=None, repr=False)
    certificate_authority: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    act_as: str | None = None
    act_as_group: tuple[str, ...] = ()


def segment(name: str) -> str:
    """A name as a part of a path. Raises ClientError for what cannot be one, with kubectl's reason
    (k8s.io/apimachinery/pkg/api/validation/path): "" and "." would make a request for one a request for all."""
    if not name:
        raise ClientError("a name may not be empty")
    if name in (".", ".."):
        raise ClientError(f"invalid name \"{name}\": may not be '{name}'")
    for character in "/%":
        if character in name:
            raise ClientError(f"invalid name \"{name}\": may not contain '{character}'")
    return urllib.parse.quote(name, safe="")


class RestClient:
    """Requests to ``server``; raises StatusError for answers of 400 and above, ClientError where there is none, or
    no credentials that count."""

    def __init__(self, cluster: Stanza, user: Stanza, overrides: Overrides) -> None:
        self.server = str(overrides.server or cluster.get("server") or "").rstrip("/")
        if not self.server:
            raise ClientError("no server is configured: set KUBECONFIG, or use --kubeconfig or --server")
        user = dict(user)
        if overrides.token:
            user = {"token": overrides.token}
        if overrides.client_certificate:
            user |= {"client-certificate": overrides.client_certificate, "client-key": overrides.client_key}
        if "exec" in user and not overrides.token:
            user |= _exec(user["exec"], cluster)
        self._headers = _headers(user, overrides)
        self._servers = Servers(
            _tls(cluster, user, overrides), overrides.tls_server_name or cluster.get("tls-server-name")
        )

    @classmethod
    def of(cls, config: Kubeconfig, overrides: Overrides) -> RestClient:
        """The client of the chosen context. Raises ClientError."""
        name = overrides.context or config.current_context
        context = config.get("contexts", name)
        if context is None:
            if overrides.server:
                return cls({}, {}, overrides)
            if name:
                raise ClientError(f"context {name!r} does not exist")
            raise ClientError("no context is set: export KUBECONFIG, or use --kubeconfig or --context")
        cluster_name = overrides.cluster or context.get("cluster")
        cluster = config.get("clusters", cluster_name)
        if cluster is None:
            raise ClientError(f"cluster {cluster_name!r} does not exist in the kubeconfig")
        user_name = overrides.user or context.get("user")
        user = config.get("users", user_name) if user_name else {}
        if user is None:
            raise ClientError(f"user {user_name!r} does not exist in the kubeconfig")
        return cls(cluster, user, overrides)

    def at(self, server: str) -> RestClient:
        """The same client for another base URL."""
        other = object.__new__(RestClient)
        other.server, other._headers, other._servers = server.rstrip("/"), self._headers, self._servers
        return other

    @property
    def _host(self) -> str:
        return urllib.parse.urlsplit(self.server).netloc

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = "application/json",
        content_type: str | None = None,
    ) -> Any:
        """One round trip; ``path`` below the server's URL. The answer's JSON."""
        headers = {**self._headers, "Accept": accept}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
            data = json.dumps(body).encode()
        try:
            status, answer = self._servers.ask(method, self.server + path, data, headers)
        except Unreachable as error:
            raise ClientError(f"the server {self._host} cannot be reached: {error}") from error
        if status == 401:
            raise ClientError(f"the server {self._host} does not accept these credentials: wrong, or expired")
        try:
            value = json.loads(answer)
        except ValueError:
            value = answer.decode("utf-8", "replace")
        if status >= 400:
            raise StatusError.of_body(status, value)
        return value


def _headers(user: Stanza, overrides: Overrides) -> dict[str, str]:
    headers = {"User-Agent": "kubectl-kcp"}
    token = user.get("token")
    if user.get("tokenFile") and not token:
        try:
            token = Path(user["tokenFile"]).read_text().strip()
        except OSError as error:
            raise ClientError(f"{user['tokenFile']}: {error.strerror}") from error
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    if overrides.act_as:
        headers["Impersonate-User"] = overrides.act_as
    if overrides.act_as_group:
        headers["Impersonate-Group"] = overrides.act_as_group[0]
    return headers


def _tls(cluster: Stanza, user: Stanza, overrides: Overrides) -> ssl.SSLContext:
    ca = _pem(cluster, "certificate-authority")
    if overrides.certificate_authority:
        ca = _file(overrides.certificate_authority)
    try:
        context = ssl.create_default_context(cadata=ca.decode() if ca else None)
        insecure = overrides.insecure_skip_tls_verify
        if insecure if insecure is not None else cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        cert, key = _pem(user, "client-certificate"), _pem(user, "client-key")
        if cert and key:
            import tempfile  # as below: most have none, and all wait for what is imported

            with tempfile.TemporaryDirectory(prefix="kcp-") as folder:
                for name, data in (("tls.crt", cert), ("tls.key", key)):
                    path = Path(folder, name)
                    path.touch(mode=0o600)
                    path.write_bytes(data)
                context.load_cert_chain(Path(folder, "tls.crt"), Path(folder, "tls.key"))
    except (ssl.SSLError, ValueError) as error:
        raise ClientError(f"the certificates in the kubeconfig cannot be used: {error}") from error
    return context


def _pem(stanza: Stanza, key: str) -> bytes | None:
    if stanza.get(f"{key}-data"):
        try:
            return base64.b64decode(str(stanza[f"{key}-data"]))
        except ValueError as error:
            raise ClientError(f"{key}-data in the kubeconfig is not base64") from error
    return _file(str(stanza[key])) if stanza.get(key) else None


def _file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}") from error


def _exec(spec: Stanza, cluster: Stanza) -> Stanza:
    """What an exec credential plugin gives, as a user stanza."""
    import subprocess

    version = spec.get("apiVersion", "client.authentication.k8s.io/v1")
    info: Stanza = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    if spec.get("provideClusterInfo"):
        info["spec"]["cluster"] = {"server": cluster.get("server")}
    environment = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(info)}
    environment |= {item["name"]: item["value"] for item in spec.get("env") or ()}
    command = [str(spec.get("command", "")), *(spec.get("args") or ())]
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
        status = json.loads(done.stdout)["status"]
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError) as error:
        raise ClientError(f"the credential plugin {command[0]!r} failed: {error}") from error
    user: Stanza = {"token": status.get("token")}
    for key, name in (("clientCertificateData", "client-certificate-data"), ("clientKeyData", "client-key-data")):
        if status.get(key):
            user[name] = base64.b64encode(status[key].encode()).decode()
    return user
