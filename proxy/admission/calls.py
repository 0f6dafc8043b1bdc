"""Calls of webhooks: the question is sent as a kube-apiserver sends it, and its failures are worded as there.

A webhook's address is a tenant's word: names are looked up once, and what is connected to must be allowed
(`proxy.kube.networks`); no proxies, no redirects, no answer without end, and so many at once for a workspace.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import math
import socket
import ssl
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from weakref import WeakValueDictionary

import aiohttp
import orjson
from yarl import URL

from proxy.admission.counts import Counts
from proxy.kube.client import sockets
from proxy.kube.networks import Guard, Networks, NotAllowed

LARGEST = 8 * 2**20
"""Bytes of an answer; objects are at most 3 MiB."""
AT_ONCE = 64
"""Calls for one workspace by one worker."""
SESSIONS = 128
"""Authorities for which connections are kept."""
SHOWN = 2048
"""Characters of an answer that an error quotes (``maxUnstructuredResponseTextBytes``)."""
_AS_IT_IS = "%/:?#[]@!$&'()*+,;="
"""Besides letters, digits and ``-._~``: what Go leaves so in a path and a query."""
_WORDS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
"""As ``NewGenericServerResponse`` of k8s.io/apimachinery/pkg/api/errors."""


class CallError(Exception):
    """A webhook that could not be called, or gave no answer to be used; worded as client-go words it."""


class Caller:
    """Of one worker."""

    def __init__(self, networks: Networks) -> None:
        self.counts = Counts()
        self._networks = networks
        self._sessions: OrderedDict[str, aiohttp.ClientSession] = OrderedDict()
        """By CA bundle."""
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def post(self, token: str, config: Mapping[str, Any], body: bytes, timeout: float) -> Any:
        """The decoded answer. Raises CallError."""
        url = str(config.get("url") or "")
        query = urlencode({"timeout": f"{math.ceil(timeout)}s"})
        target = f"{url}{'&' if urlsplit(url).query else '?'}{query}"
        turn = self._turns.get(token)
        if turn is None:
            turn = self._turns[token] = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.timeout(timeout), turn:
                return await self._post(config, target, body)
        except TimeoutError:
            raise CallError(f'Post "{target}": context deadline exceeded') from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CallError(f'Post "{target}": {_why(error)}') from error

    async def _post(self, config: Mapping[str, Any], target: str, body: bytes) -> Any:
        session = await self._session(str(config.get("caBundle") or ""))
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, */*",
            "User-Agent": "kube-apiserver-admission",
        }
        async with session.post(
            URL(quote(target, safe=_AS_IT_IS), encoded=True), data=body, headers=headers, allow_redirects=False
        ) as response:
            pieces, size = [], 0
            async for piece in response.content.iter_any():
                size += len(piece)
                if size > LARGEST:
                    raise CallError(f"the answer is larger than {LARGEST >> 20} MiB")
                pieces.append(piece)
            answer = b"".join(pieces)
            if not 200 <= response.status <= 206:
                raise CallError(_refused(response.status, response.content_type, answer))
        try:
            return orjson.loads(answer)
        except orjson.JSONDecodeError:
            raise CallError(_undecodable(answer)) from None

    async def _session(self, bundle: str) -> aiohttp.ClientSession:
        session = self._sessions.get(bundle)
        if session is None:
            context = await asyncio.to_thread(_context, bundle)
            session = self._sessions.get(bundle)
            if session is None:
                connector = aiohttp.TCPConnector(
                    limit=0, ssl=context, use_dns_cache=False, socket_factory=sockets(Guard(self._networks))
                )
                session = self._sessions[bundle] = aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=None),
                    trust_env=False,
                )
                if len(self._sessions) > SESSIONS:
                    _, oldest = self._sessions.popitem(last=False)
                    await oldest.close()
        self._sessions.move_to_end(bundle)
        return session


def _context(bundle: str) -> ssl.SSLContext:
    """Raises ValueError, ssl.SSLError (an OSError)."""
    authorities = base64.b64decode(bundle).decode("ascii") if bundle else None
    context = ssl.create_default_context(cadata=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as Go: whatever is trusted ends a chain
    return context


def _refused(status: int, content_type: str, body: bytes) -> str:
    """An answer that is none, as client-go puts it."""
    text = body[:SHOWN].decode("utf-8", "replace")
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if isinstance(said, dict) and said.get("kind") == "Status" and said.get("status") != "Success":
        return str(said.get("message") or "unknown")
    message = text.strip() if content_type.startswith("text/") else "unknown"
    if status in _WORDS:
        return _WORDS[status]
    if status in (403, 406, 415):
        return message
    if status >= 500:
        return f"an error on the server ({_quoted(message)}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"


def _undecodable(body: bytes) -> str:
    return f"couldn't get version/kind; json parse error: invalid character {_quoted(body[:1].decode('latin-1'))}"


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def _why(error: Exception) -> str:
    """What Go's net/http says of it."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _of_certificate(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"dial tcp: lookup {error.host}: no such host"
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        where = f"{error.host}:{error.port}"
        if isinstance(cause, NotAllowed):
            return f"dial tcp {where}: an address that webhooks of a workspace may not have"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _of_certificate(cause)
        if isinstance(cause, ConnectionRefusedError) or cause.errno == errno.ECONNREFUSED:
            return f"dial tcp {where}: connect: connection refused"
        if isinstance(cause, socket.gaierror):
            return f"dial tcp: lookup {error.host}: no such host"
        return f"dial tcp {where}: {cause.strerror or cause}"
    if isinstance(error, NotAllowed):
        return "an address that webhooks of a workspace may not have"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "EOF"
    return str(error) or type(error).__name__


def _of_certificate(error: Exception) -> str:
    said = str(error)
    if "self-signed" in said or "unable to get local issuer" in said or "self signed" in said:
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if "expired" in said:
        return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
    return f"tls: failed to verify certificate: x509: {said.partition('] ')[2] or said}"
