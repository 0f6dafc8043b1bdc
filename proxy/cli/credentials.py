"""As whom a server is asked, and what it must show: authentication as kubectl's.

Bearer tokens, token files, client certificates and exec credential plugins
(https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins).
"""

from __future__ import annotations

import base64
import json
import os
import ssl
from pathlib import Path

from proxy.cli.kubeconfig import Stanza
from proxy.cli.overrides import ClientError, Overrides


def credentials(cluster: Stanza, user: Stanza, overrides: Overrides) -> Stanza:
    """The user stanza that counts, an exec plugin's answer put into it. Raises ClientError."""
    user = dict(user)
    if overrides.token:
        user = {"token": overrides.token}
    if overrides.client_certificate:
        user |= {"client-certificate": overrides.client_certificate, "client-key": overrides.client_key}
    if "exec" in user and not overrides.token:
        user |= _exec(user["exec"], cluster)
    return user


def headers(user: Stanza, overrides: Overrides) -> dict[str, str]:
    """That say who asks. Raises ClientError."""
    found = {"User-Agent": "kubectl-kcp"}
    token = user.get("token")
    if user.get("tokenFile") and not token:
        try:
            token = Path(user["tokenFile"]).read_text().strip()
        except OSError as error:
            raise ClientError(f"{user['tokenFile']}: {error.strerror}") from error
    if token:
        found["Authorization"] = f"Bearer {token}"
    elif user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        found["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    if overrides.act_as:
        found["Impersonate-User"] = overrides.act_as
    if overrides.act_as_group:
        found["Impersonate-Group"] = overrides.act_as_group[0]
    return found


def tls(cluster: Stanza, user: Stanza, overrides: Overrides) -> ssl.SSLContext:
    """What servers are checked with, and the client's certificate. Raises ClientError."""
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
