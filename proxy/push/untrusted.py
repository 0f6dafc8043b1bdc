"""Kubeconfigs that tenants write: only what is data in them counts, and what would act on this machine is refused.

A kubeconfig may run programs, name files, go through proxies, or tell to believe any certificate. Nothing of that is
needed to reach a cluster, so what may stand in one is listed here, and the rest is refused by its name.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from proxy.kube.config import ConfigError, Connection, load_kubeconfig
from proxy.mapping.yaml11 import YAMLError, load

CLUSTER = frozenset(
    {"server", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify", "disable-compression",
     "extensions"}
)  # fmt: skip
USER = frozenset({"token", "client-certificate-data", "client-key-data", "extensions"})
FILES = frozenset({"certificate-authority", "client-certificate", "client-key", "tokenFile"})
WHY = {
    "exec": "would run a program on the machine of kcp",
    "auth-provider": "would run a program's part on the machine of kcp",
    "proxy-url": "would send kcp elsewhere",
    **dict.fromkeys(FILES, "names a file, which would be one of the machine of kcp: put its content in as data"),
}
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9.])?\Z|[0-9A-Fa-f:.]{2,45}\Z")
_NUMBER = re.compile(r"([0-9]+|0[xX][0-9A-Fa-f]*)\Z")
_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?\Z")
_TOKEN = re.compile(r"[!-~]+\Z")


class Refused(Exception):
    """A kubeconfig that is not used; one line for its owner, with no secret in it."""


def read(text: bytes, guard: Callable[[str], None], *, allow_insecure: bool = False) -> Connection:
    """The connection of the current context. Raises Refused. Takes up to some tenths of a second.

    ``guard``: of the connection. ``allow_insecure``: plain http, and certificates that are not checked.
    """
    try:
        config = load(text)
    except YAMLError as error:
        raise Refused("the kubeconfig is not readable YAML or JSON") from error
    if not isinstance(config, Mapping):
        raise Refused("what is there is no kubeconfig")
    cluster, user = _current(config)
    for stanza, known in ((cluster, CLUSTER), (user, USER)):
        for key, value in stanza.items():
            if key not in known and value not in (None, "", False, [], {}):
                why = WHY.get(str(key), "is not among what kcp understands")
                raise Refused(f"the kubeconfig has {str(key)[:40]!r}, which {why}")
    if cluster.get("insecure-skip-tls-verify") and not allow_insecure:
        raise Refused("the kubeconfig has 'insecure-skip-tls-verify': put the cluster's CA in instead")
    _check_server(cluster.get("server"), allow_insecure)
    _check_texts(cluster, user)
    try:
        connection = load_kubeconfig(
            {
                "current-context": "it",
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                "clusters": [{"name": "it", "cluster": {key: cluster[key] for key in CLUSTER & set(cluster)}}],
                "users": [{"name": "it", "user": {key: user[key] for key in USER & set(user)}}],
            }
        )
    except ConfigError as error:
        raise Refused(str(error)) from error
    made = Connection(
        server=connection.server,
        ca_data=connection.ca_data,
        client_cert_data=connection.client_cert_data,
        client_key_data=connection.client_key_data,
        token=connection.token,
        insecure=connection.insecure,
        tls_server_name=connection.tls_server_name,
        guard=guard,
    )
    try:
        made.ssl_context()
    except (ssl.SSLError, ValueError, OSError) as error:
        raise Refused("certificate or key in the kubeconfig cannot be used: PEM is needed, keys unencrypted") from error
    return made


def _current(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Cluster and user of the current context."""
    context = _named(config, "contexts", config.get("current-context"), "context")
    user = context.get("user")
    return (
        _named(config, "clusters", context.get("cluster"), "cluster"),
        _named(config, "users", user, "user") if user else {},
    )


def _named(config: Mapping[str, Any], kind: str, name: Any, key: str) -> Mapping[str, Any]:
    entries = config.get(kind)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, Mapping) and name and entry.get("name") == name and isinstance(entry.get(key), Mapping):
            found: Mapping[str, Any] = entry[key]
            return found
    raise Refused(f"the kubeconfig has no {key} for its current context")


def _check_server(server: Any, allow_insecure: bool) -> None:
    try:
        url = urlsplit(server if isinstance(server, str) else "")
        port = url.port
        host = url.hostname or ""
    except ValueError:
        host, port = "", 0
    whole = (
        bool(host)
        and _is_host(host)
        and _TOKEN.match(server) is not None  # a line feed would be overlooked above
        and port != 0
        and url.username is None
        and url.password is None
        and not url.query
        and not url.fragment
        and _PATH.match(url.path) is not None
    )
    if not whole:
        raise Refused("the kubeconfig's server is not an address of the form https://HOST[:PORT][/PATH]")
    if url.scheme != "https" and not (url.scheme == "http" and allow_insecure):
        raise Refused("the kubeconfig's server is not reached by https")


def _is_host(host: str) -> bool:
    """A name, or an address as it is written today: C libraries read 0x7f.1 and 2130706433 as addresses, too."""
    if ":" in host or _NUMBER.match(host.rstrip(".").rpartition(".")[2]):
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
    return _HOST.match(host) is not None


def _check_texts(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> None:
    token, name = user.get("token"), cluster.get("tls-server-name")
    if token and not (isinstance(token, str) and _TOKEN.match(token)):
        raise Refused("the kubeconfig's token has characters that no token has")
    if name and not (isinstance(name, str) and _HOST.match(name)):
        raise Refused("the kubeconfig's tls-server-name is no name")
    if not token and not user.get("client-certificate-data"):
        raise Refused("the kubeconfig has neither a token nor a client certificate")
