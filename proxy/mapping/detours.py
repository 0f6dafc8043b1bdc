"""Conversion webhooks of workspaces, as shards know them: on a detour by the proxy.

A shard would call what stands in a CRD's ``spec.conversion`` itself, from inside and with its own names. So there
stands, in front of what the workspace has written::

    url       https://PROXY/admission/convert/TOKEN/CRD/SECRET/
    caBundle  the proxy's authorities, between two lines of comment

A bundle may lack what the workspace has written: a policy of the shard (``manifests/shard/conversion.yaml``) puts it
there after fields have got their managers. Both come off every answer without a look at its structure. The token in it
makes certain that nobody has written such a URL: bodies that hold the workspace's own are refused.

Kubernetes sends no credentials to conversion webhooks, so the secret in the path is what the shard is known by. It is
made of a key that lies on the shard; each CRD has its own.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache

from proxy.mapping.shape import Object, mapping, text

ASKING = "mutate.admission.kcp.dev"
"""MutatingWebhookConfiguration of a shard that says where the proxy is."""
PATH = b"/admission/convert/"
EXTRA = "conversion.kcp.dev"
"""Key of the user's extra in which a shard's policy is told what bundles begin with, and, where a CRD is brought up to
date, the whole bundle and the URL."""
_BEGIN, _END = b"# kcp's:\n", b"# given:\n"
"""Lines of comment in PEM; three bytes are four letters of base64, so they look the same wherever they stand."""
_SECRET = 43
_TARGET = re.compile(rb"/admission/convert/(k[a-z2-7]{8})/([a-z0-9.-]+)/([A-Za-z0-9_-]{%d})/" % _SECRET)
_HOST = re.compile("https://[^/]+")
_FRONT = r"https://[^/\"\\ ]+/admission/convert/%s/[a-z0-9.-]+/[A-Za-z0-9_-]{43}/"
_ANY_FRONT = re.compile((_FRONT % "k[a-z2-7]{8}").encode())
_OURS = base64.b64encode(_BEGIN) + rb"[A-Za-z0-9+/]*?" + base64.b64encode(_END)
_OUR_BUNDLE = re.compile(_OURS.decode())
_MEMBER = re.compile(rb'(,?)(\\*)"caBundle\2":\2"' + _OURS + rb'(\2"(,?))?')
"""Of an object: the last one as shards write it, the first one as kubectl does."""


@dataclass(frozen=True, slots=True)
class Detour:
    """Of one shard."""

    base: str
    """``https://HOST:PORT`` of the proxy."""
    authorities: bytes
    """PEM, by which the shard knows it."""
    key: bytes

    def url(self, token: str, crd: str, plain: str) -> str:
        """``crd``: its name in the workspace."""
        return f"{self.base}{PATH.decode()}{token}/{crd}/{self.secret(token, crd)}/{plain}"

    def secret(self, token: str, crd: str) -> str:
        said = f"kcp conversion\0{token}/{crd}".encode()
        return base64.urlsafe_b64encode(hmac.digest(self.key, said, hashlib.sha256)).decode().rstrip("=")

    @property
    def bundle(self) -> str:
        """What a bundle begins with."""
        filled = self.authorities + b"\n" * (-len(self.authorities) % 3)
        return base64.b64encode(_BEGIN + filled + _END).decode()


@dataclass(frozen=True, slots=True)
class Asked:
    """The CRD, as its workspace calls it, and the secret in the target of a shard's question."""

    token: str
    crd: str
    secret: str


def asked_of(target: bytes) -> Asked | None:
    match = _TARGET.match(target)
    return Asked(*(part.decode() for part in match.groups())) if match else None


def asked_at(url: str) -> Asked | None:
    """The same of a URL as it stands on the shard."""
    host = _HOST.match(url)
    return asked_of(url[host.end() :].encode()) if host else None


@dataclass(frozen=True, slots=True)
class Converter:
    """A conversion webhook as it stands on a shard."""

    url: str
    bundle: str

    @classmethod
    def of(cls, crd: Object) -> Converter | None:
        """Of a CRD, if it has one; None for what is on no detour."""
        webhook = mapping(mapping(crd["spec"], "conversion") or {}, "webhook") or {}
        config = mapping(webhook, "clientConfig") or {}
        made = cls(text(config, "url"), text(config, "caBundle"))
        return made if asked_at(made.url) else None

    def answers(self, asked: Asked) -> bool:
        """Whether the shard that has it asks like that."""
        own = asked_at(self.url)
        return own is not None and hmac.compare_digest(repr(own).encode(), repr(asked).encode())

    def on(self, detour: Detour) -> Converter:
        """The same as it has to stand on a shard."""
        own = asked_at(self.url)
        assert own is not None
        url = detour.url(own.token, own.crd, plain_url(self.url))
        return Converter(url, detour.bundle + plain_bundle(self.bundle))

    def config(self) -> Object:
        """``clientConfig`` as the workspace has written it."""
        return {"url": plain_url(self.url), "caBundle": plain_bundle(self.bundle)}


def plain_url(url: str) -> str:
    """What the workspace has written."""
    return _ANY_FRONT.sub(b"", url.encode(), count=1).decode()


def plain_bundle(bundle: str) -> str:
    """What the workspace has written, empty for nothing."""
    match = _OUR_BUNDLE.match(bundle)
    return bundle[match.end() :] if match else bundle


def is_base64(text: str) -> bool:
    """Whether a kube-apiserver can read it."""
    try:
        base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _front_of(token: str) -> re.Pattern[bytes]:
    return re.compile((_FRONT % token).encode())


def without_detours(data: bytes, token: str) -> bytes:
    """CRDs as the workspace sees them."""
    if PATH in data:
        data = _front_of(token).sub(b"", data)
    return _MEMBER.sub(_given, data) if b"caBundle" in data else data


def _given(match: re.Match[bytes]) -> bytes:
    before, quote, whole, behind = match.groups()
    if whole:
        return behind if before else b""
    return b'%b%b"caBundle%b":%b"' % (before, quote, quote, quote)


def without_urls(message: bytes) -> bytes:
    """A Status, in which the shard may name what it could not call."""
    return _ANY_FRONT.sub(b"", message) if PATH in message else message


class Undetoured:
    """`without_detours` piece by piece: what is taken out stands in an object without others in it, so an object that
    has begun is kept back until another begins or it ends."""

    __slots__ = ("_rest", "_token")

    def __init__(self, token: str) -> None:
        self._token = token
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        begun = data.rfind(b"{")
        if begun > data.rfind(b"}"):
            data, self._rest = data[:begun], data[begun:]
        return without_detours(data, self._token)

    def flush(self) -> bytes:
        rest, self._rest = self._rest, b""
        return without_detours(rest, self._token)
