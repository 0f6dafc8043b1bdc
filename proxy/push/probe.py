"""Is there a Kubernetes API server where a tenant's kubeconfig leads, and does it let us in? With an answer that helps
its owner, and tells nothing of what else may be there."""

from __future__ import annotations

import errno

import aiohttp

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.kube.networks import Guard
from proxy.push.wanted import Problem

TIMEOUT = 15.0
"""Seconds."""


async def probe(client: Client, guard: Guard) -> None:
    """Raises Problem."""
    guard.refused = ""
    server = client.connection.server
    try:
        answer = await client.request("GET", "/api/v1/namespaces", params={"limit": 1}, timeout=TIMEOUT)
    except StatusError as error:
        raise explained(error, server, guard) from error
    if not isinstance(answer, dict) or answer.get("kind") != "NamespaceList":
        raise Problem("NotAnAPIServer", f"{server} is not a Kubernetes API server")


def explained(error: StatusError, server: str, guard: Guard) -> Problem:
    """What is said of an answer, or of none. Bodies are left out: a server that is none of the tenant's may have
    written them."""
    if guard.refused:
        return Problem(
            "AddressNotAllowed",
            f"{server} is at {guard.refused}, where kcp does not connect to: its own machine or network; the operator "
            "of kcp may allow it (kcp syncer --allow-network)",
        )
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return Problem("NotReachable", f"the name in {server} is not known")
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return Problem(
            "CertificateNotTrusted", f"the certificate of {server} does not fit the CA, or the name, in the kubeconfig"
        )
    if isinstance(cause, aiohttp.ClientSSLError):
        return Problem("CertificateNotTrusted", f"no TLS connection to {server} comes about")
    if isinstance(cause, aiohttp.ClientConnectorError) and cause.os_error.errno == errno.ECONNREFUSED:
        return Problem("NotReachable", f"{server} refuses connections")
    if error.code == 504 and cause is not None:
        return Problem("NotReachable", f"{server} does not answer within {TIMEOUT:g} s")
    if cause is not None or error.code >= 500:
        return Problem("NotReachable", f"{server} cannot be reached, or is not well")
    if error.code == 401:
        return Problem("Unauthorized", f"{server} does not accept the credentials in the kubeconfig")
    if error.code == 403:
        return Problem("Forbidden", f"{server} does not let the user of the kubeconfig list namespaces")
    return Problem("NotAnAPIServer", f"{server} answers {error.code} where an API server lists namespaces")
