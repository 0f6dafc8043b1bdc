"""The plugins' Kubernetes client: blocking, small, quick to import.

What a connection needs is imported when something is asked: a command that asks nothing does not wait for it.
"""

from __future__ import annotations

import functools
import json
import sys
import time
import urllib.parse
from typing import TYPE_CHECKING, Any

from proxy.cli.kubeconfig import Kubeconfig, Stanza
from proxy.cli.overrides import ClientError, Overrides
from proxy.kube.errors import StatusError

if TYPE_CHECKING:
    from proxy.cli.servers import Servers

ASKED_AGAIN = 10
"""Times."""


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
        self._servers = functools.cache(functools.partial(_servers, cluster, user, overrides))

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
        other.server, other._servers = server.rstrip("/"), self._servers
        return other

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        accept: str = "application/json",
        content_type: str | None = None,
    ) -> Any:
        """The answer's JSON; ``path`` below the server's URL. A server that asks to be asked again is, as by client-go
        (k8s.io/client-go/rest/with_retry.go)."""
        headers = {"Accept": accept}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
            data = json.dumps(body).encode()
        for left in range(ASKED_AGAIN, -1, -1):
            status, answer = self._servers().ask(method, self.server + path, data, headers)
            if status == 401:
                host = urllib.parse.urlsplit(self.server).netloc
                raise ClientError(f"the server {host} does not accept these credentials: wrong, or expired")
            try:
                value = json.loads(answer)
            except ValueError:
                value = answer.decode("utf-8", "replace")
            if status < 400:
                return value
            error = StatusError.of_body(status, value)
            pause = error.details.get("retryAfterSeconds")
            if not left or not isinstance(pause, int) or (status < 500 and status != 429):
                break
            print(f"{error.message}; waiting", file=sys.stderr)
            time.sleep(pause)
        raise error


def _servers(cluster: Stanza, user: Stanza, overrides: Overrides) -> Servers:
    """Raises ClientError for credentials that are none."""
    from proxy.cli.credentials import credentials, headers, tls
    from proxy.cli.servers import Servers

    user = credentials(cluster, user, overrides)
    name = overrides.tls_server_name or cluster.get("tls-server-name")
    return Servers(tls(cluster, user, overrides), name, headers(user, overrides))
