"""The syncer's own token of the workspace: replaced long before it ends, and kept in a Secret on the cluster.

The token in the manifest is good for a day: it opens the workspace once. From it the syncer makes another, which it
replaces each day and keeps where its next start finds it. Where a manifest is applied again, the later token wins.
The one before is kept as well: one that was made while a clock of the workspace was ahead is refused when it is right
again, until its time has come.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import logging
import random
import time
from collections.abc import Awaitable, Callable

from proxy.kube.claims import claims_of
from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import ConfigError, Connection
from proxy.kube.errors import StatusError
from proxy.kube.versions import STEP

log = logging.getLogger(__name__)

SECRETS = Resource("", "v1", "secrets")
ACCOUNTS = Resource("", "v1", "serviceaccounts")
KEY, KEY_BEFORE = "token", "previous-token"
LIFETIME = 7 * 24 * 3600.0
"""Seconds: for so long a cluster may be away and still find its way back."""
PART = 1 / 7
"""Of its life after which a token is replaced."""
AGAIN = 10.0
"""Seconds between attempts."""


class Credentials:
    """Of ``account`` in ``namespace`` of the workspace; ``above`` gets each new token.

    ``secret``: namespace and name of the Secret below, or None if the token is to stay as it is. ``reload`` reads what
    the syncer was started with again. ``expires`` is told when the token ends, in seconds since 1970. ``issue`` gives a
    new token, where somebody does that: then none is kept.
    """

    def __init__(
        self,
        above: Client,
        below: Client,
        *,
        namespace: str,
        account: str,
        secret: tuple[str, str] | None,
        lifetime: float = LIFETIME,
        reload: Callable[[], Connection] | None = None,
        expires: Callable[[float], object] = lambda moment: None,
        issue: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self._above = above
        self._below = below
        self._namespace = namespace
        self._account = account
        self._secret = secret
        self._lifetime = lifetime
        self._reload = reload
        self._expires = expires
        self._issue = issue
        self._unsaved: str | None = None
        self._since = time.monotonic()
        """When the token that is used was first used."""
        self._before: str | None = None
        """The token that the last one was asked for with."""
        self._refused: dict[str, float] = {}
        """Tokens that were not accepted, and when that was, by `time.monotonic`."""
        self._doubted = False
        self._complaint = ""
        """What was said last of the Secret."""
        self._moves = 0
        self._moved = False
        self._woken = asyncio.Event()

    def saw(self, version: str) -> None:
        """What the workspace says now is of that version. After a move the token is replaced at once."""
        # A token from before a move is good until it ends, as long as the shard that has signed it is there.
        moves = int(version) // STEP if version.isdigit() else self._moves
        if moves != self._moves:
            self._moves = moves
            self._moved = True
            self._woken.set()

    def answered(self, code: int) -> None:
        """The workspace has answered a request with this code."""
        if code == 401:
            self._doubted = True
            self._woken.set()

    async def choose(self) -> None:
        """Use the token that is good for longest: the one the syncer was started with, or one that is kept. Of those
        that were refused, the one that was it longest ago is used where there is no other."""
        tokens = [self._above.connection.token, self._before, self._given()]
        if self._secret is not None:
            try:
                tokens += await self._kept()
            except StatusError as error:
                if str(error) != self._complaint:
                    log.warning("Secret %s/%s of the cluster: %s", *self._secret, error)
                self._complaint = str(error)
        known = [token for token in tokens if token]
        self._refused = {token: at for token, at in self._refused.items() if token in known}
        if known:
            self._use(max(known, key=lambda token: (-self._refused.get(token, 0.0), expiry(token))))

    async def run(self) -> None:
        """Replace the token in time, until cancelled."""
        if self._secret is None and self._issue is None:
            return
        complaint = ""
        while True:
            self._woken.clear()
            doubted = self._doubted
            try:
                if doubted:
                    await self._use_another()
                wait = await (self._step() if self._issue is None else self._follow(self._issue))
                complaint = ""
            except StatusError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    log.error("renewing the token of the workspace: %s", error)
                self.answered(error.code)
                wait = AGAIN
            if doubted:
                # Answers to what was sent before say nothing of the token that is used now.
                await asyncio.sleep(AGAIN)
                self._doubted = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def _use_another(self) -> None:
        """Raises StatusError."""
        if self._issue is not None:
            self._use(await self._issue())
            return
        token = self._above.connection.token
        if token:
            self._refused[token] = time.monotonic()
        await self.choose()

    async def _step(self) -> float:
        if self._unsaved is None:
            wait = self._left(PART)
            if wait > 0 and not self._moved:
                return wait * random.uniform(0.9, 1.0) + 0.05
            path = ACCOUNTS.path(self._namespace, self._account, "token")
            request: Object = {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"expirationSeconds": int(max(self._lifetime, 600))},
            }
            answer = await self._above.request("POST", path, body=request)
            self._unsaved = str(answer["status"]["token"])
            self._moved = False
            self._before = self._above.connection.token
            self._use(self._unsaved)
        await self._keep(self._unsaved)
        self._unsaved = None
        log.info("the token of the workspace was renewed")
        return min(max(self._lifetime * PART, 1.0), AGAIN)

    async def _follow(self, issue: Callable[[], Awaitable[str]]) -> float:
        """Seconds until the token that there is now has lived half of its life, or a new one."""
        wait = self._left(1 / 2)
        if wait > 0 and not self._moved:
            return wait
        self._use(await issue())
        self._moved = False
        return AGAIN

    def _left(self, part: float) -> float:
        """Seconds until the token has lived ``part`` of its life, by what it says or since it is used, whichever is
        sooner: our clock may be wrong, and may be set."""
        said = expiry(self._above.connection.token or "") - self._lifetime * (1 - part) - time.time()
        return min(said, self._since + self._lifetime * part - time.monotonic())

    def _use(self, token: str) -> None:
        if token != self._above.connection.token:
            self._since = time.monotonic()
        self._above.connection = dataclasses.replace(self._above.connection, token=token)
        self._expires(expiry(token))

    def _given(self) -> str | None:
        try:
            return self._reload().token if self._reload is not None else None
        except ConfigError as error:
            log.warning("%s", error)
            return None

    async def _kept(self) -> list[str]:
        """What is kept, and what was before it. Raises StatusError."""
        assert self._secret is not None
        namespace, name = self._secret
        try:
            data = (await self._below.get(SECRETS, name, namespace)).get("data") or {}
            return [base64.b64decode(str(data.get(key) or "")).decode() for key in (KEY, KEY_BEFORE)]
        except (ValueError, binascii.Error):
            return []
        except StatusError as error:
            if error.code != 404:
                raise
            return []

    async def _keep(self, token: str) -> None:
        assert self._secret is not None
        namespace, name = self._secret
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "data": {
                key: base64.b64encode(kept.encode()).decode()
                for key, kept in ((KEY, token), (KEY_BEFORE, self._before))
                if kept
            },
        }
        await self._below.apply(SECRETS, secret, manager="kcp-syncer")


def expiry(token: str) -> float:
    """When a JSON web token ends, in seconds since 1970; 0 for what is none or says nothing."""
    try:
        return float(claims_of(token)["exp"])
    except (ValueError, KeyError, TypeError):
        return 0.0
