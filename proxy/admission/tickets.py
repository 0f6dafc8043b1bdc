"""Tickets: what a worker gives a request on its way to a shard, and the shard back to any worker with its question.

A ticket says for whom the shard asks: which workspace, and who its user is there. It is signed with a key that lies on
the shard, so that all proxies before a shard have the same, is good for the time that a request may take, and is seen
by nobody but shard and workers.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from proxy.admission.platform import TICKET
from proxy.auth.identity import User
from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.tenancy.asked import read_key

EXTRA = TICKET.encode()
"""Key of the user's extra."""
GOOD_FOR = 120.0
"""Seconds, either way, as clocks differ: a kube-apiserver takes 60 for a request."""
AGAIN = 5.0
"""Seconds until a key is read again because a ticket does not go with it."""


class NotGood(ValueError):
    """Not a ticket, or not any more."""


class WrongTime(NotGood):
    """It was signed as it ought to be, but too long ago, or in the future."""


@dataclass(frozen=True, slots=True)
class Ticket:
    token: str
    """Of the workspace."""
    user: Object
    """Who asks, as an AdmissionReview of the workspace names him."""
    own: bool = False
    """Whether he exists in this workspace only (`User.workspace_token`)."""
    masters: bool = False
    """As of a `User`."""

    def asking(self) -> User:
        """Who asks, to find out what else he may do."""
        groups = tuple(self.user.get("groups") or ())
        name, uid = self.user["username"], self.user.get("uid") or ""
        return User(
            name, groups, uid, workspace_token=self.token if self.own else None,
            masters=self.masters,
        )  # fmt: skip


def sign(key: bytes, ticket: Ticket) -> bytes:
    said = orjson.dumps(
        {
            "workspace": ticket.token,
            "at": time.time(),
            "user": ticket.user,
            "own": ticket.own,
            "masters": ticket.masters,
        }
    )
    payload = base64.urlsafe_b64encode(said)
    return payload + b"." + _mac(key, payload)


def workspace_of(signed: bytes) -> str:
    """Whose it says that it is; not to be believed. Raises NotGood."""
    return str(_read(signed.partition(b".")[0])["workspace"])


def check(key: bytes, signed: bytes) -> Ticket:
    """Raises NotGood, WrongTime."""
    payload, _, mac = signed.partition(b".")
    if not hmac.compare_digest(_mac(key, payload), mac):
        raise NotGood
    said = _read(payload)
    age = time.time() - said["at"]
    if abs(age) > GOOD_FOR:
        seen = f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s from now"
        raise WrongTime(f"the ticket is {seen}: do the clocks of the proxies before this shard differ?")
    return Ticket(said["workspace"], said["user"], said["own"], said["masters"])


def _mac(key: bytes, payload: bytes) -> bytes:
    return base64.urlsafe_b64encode(hmac.digest(key, b"kcp admission ticket\0" + payload, hashlib.sha256))


def _read(payload: bytes) -> Object:
    try:
        said = orjson.loads(base64.urlsafe_b64decode(payload))
        if isinstance(said, dict) and said.keys() == {"workspace", "at", "user", "own", "masters"}:
            return said
    except ValueError:
        pass
    raise NotGood


class Keys:
    """The shards' keys, read at first need and made where there is none."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = Identity.ADMISSION.on_all(shards)
        self._known: dict[str, bytes] = {}
        self._read_at: dict[str, float] = {}
        self._lock = asyncio.Lock()

    def known(self, shard: str) -> bytes | None:
        return self._known.get(shard)

    async def of(self, shard: str) -> bytes:
        """Raises StatusError."""
        async with self._lock:
            if shard not in self._known:
                self._known[shard] = await read_key(self._shards[shard])
                self._read_at[shard] = time.monotonic()
            return self._known[shard]

    async def check(self, shard: str, signed: bytes) -> Ticket:
        """A ticket for ``shard``. Raises NotGood, WrongTime, StatusError."""
        try:
            return check(await self.of(shard), signed)
        except WrongTime:
            raise
        except NotGood:
            # Somebody may have made it with a key that is younger than what is known here.
            if time.monotonic() - self._read_at[shard] < AGAIN:
                raise
            self._known.pop(shard, None)
            return check(await self.of(shard), signed)
