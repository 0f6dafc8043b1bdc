"""Audit events sent to a server: ``EventList`` by POST, as kube-apiserver's webhook backend sends them.

The server stands in a kubeconfig, its URL complete with the path.
https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/#webhook-backend
"""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from urllib.parse import urlsplit

from proxy.audit.policy import API_VERSION
from proxy.kube.config import Connection

TIMEOUT = 30.0
MOST = 400
"""Events of one request (kube-apiserver's ``--audit-webhook-batch-max-size``)."""


class Webhook:
    """``write()`` sends lines. Not for several threads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tls = connection.ssl_context()

    def write(self, lines: Sequence[bytes]) -> None:
        """Raises OSError while the server does not take them; a batch may then come twice."""
        for at in range(0, len(lines), MOST):
            self._post(lines[at : at + MOST])

    def _post(self, lines: Sequence[bytes]) -> None:
        url = urlsplit(self._connection.server)
        host = url.hostname or ""
        if self._tls is not None:
            client: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, url.port, timeout=TIMEOUT, context=self._tls
            )
        else:
            client = http.client.HTTPConnection(host, url.port, timeout=TIMEOUT)
        head = f'{{"kind":"EventList","apiVersion":"{API_VERSION}","metadata":{{}},"items":['.encode()
        headers = {"Content-Type": "application/json", "User-Agent": "kcp-audit"}
        token = self._connection.bearer()
        if token:
            headers["Authorization"] = f"Bearer {token}"
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        try:
            client.request("POST", target, head + b",".join(lines) + b"]}", headers)
            status = client.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(f"the audit webhook does not speak HTTP: {error!r}") from error
        finally:
            client.close()
        if status >= 300:
            raise OSError(f"the audit webhook answers {status}")
