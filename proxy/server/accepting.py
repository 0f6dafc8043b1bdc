"""Takes clients' connections, one in each turn of the event loop.

Its TLS handshake takes a worker half a millisecond, in which it serves nobody. An event loop's own server takes all
that wait, so that two hundred clients that connect at once hold up everybody else for a tenth of a second; taken one at
a time they are let in as fast, and what others ask is done in between.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

log = logging.getLogger(__name__)

HANDSHAKE = 20.0
"""Seconds for a client's TLS handshake."""
SHUTDOWN = 2.0
"""Seconds for the end of TLS, once it has been said."""
FULL = 0.5
"""Seconds until it is tried again, where the process or the machine has no file descriptor left."""


class Acceptor:
    """What connects to ``listener`` becomes a connection of a new ``protocol``, until `close`."""

    def __init__(
        self, listener: socket.socket, tls: ssl.SSLContext, protocol: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._listener = listener
        self._tls = tls
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            # The kernel keeps who has not said anything yet, so that with each one that is taken a handshake begins,
            # and those of many that have connected before cannot begin together.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, round(HANDSHAKE))
        self._listen()

    def _listen(self) -> None:
        self._later = None
        self._loop.add_reader(self._listener, self._take)

    def _take(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return  # another worker's, or it has gone again
        except OSError as error:
            log.error("no connections are taken for %g s: %s", FULL, error)
            self._loop.remove_reader(self._listener)
            self._later = self._loop.call_later(FULL, self._listen)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=HANDSHAKE,
                ssl_shutdown_timeout=SHUTDOWN,
            )  # fmt: skip
        except OSError as error:
            # Counted by `Handshakes`; a client may not trust us, speak something else, or leave.
            log.debug("no TLS with %s: %s", connection, error)

    def close(self) -> None:
        """Nobody else is taken. Handshakes under way go on."""
        if self._later is not None:
            self._later.cancel()
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()
