"""Whether the other end of a TCP connection is still there.

A machine that loses its power, or its way here, says nothing. Keepalive finds that out where nothing is under way;
where something is, the kernel tries again for a quarter of an hour (``tcp_retries2``) and asks for no sign of life
meanwhile. TCP_USER_TIMEOUT would end that, but also ends clients that are there and do not read, as `kubectl logs -f |
less` does; so the kernel is asked what it knows.
"""

from __future__ import annotations

import socket
import struct

_INFO = struct.Struct("=8B14I")
"""The begin of Linux' ``struct tcp_info`` (``linux/tcp.h``)."""
_UNACKED, _LAST_ACK = 8 + 4, 8 + 12


def keepalive(connection: socket.socket, patience: float) -> None:
    """Make TCP notice within ``patience`` seconds that a peer has gone, if nothing is under way to it."""
    times = {"TCP_KEEPIDLE": patience / 2, "TCP_KEEPINTVL": patience / 6, "TCP_KEEPCNT": 3}
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in times.items():
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), max(round(value), 1))


def has_vanished(connection: socket.socket | None, patience: float) -> bool:
    """Whether something is under way and nothing was acknowledged for ``patience`` seconds. False where the system does
    not tell."""
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        data = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except OSError:
        return False  # closed, or no TCP
    if len(data) < _INFO.size:
        return False
    told = _INFO.unpack(data)
    return bool(told[_UNACKED] and told[_LAST_ACK] > patience * 1000)
