"""A server for the plugins' client: it says what it is told to, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence


class Stub:
    """``answers``: bytes for each request in turn; an empty end of them closes the connection."""

    def __init__(self, answers: Sequence[bytes], closes: bool) -> None:
        self._answers = list(answers)
        self._closes = closes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.connections = 0

    def serve(self) -> None:
        """Until there are no answers left."""
        while self._answers:
            connection, _ = self._listener.accept()
            self.connections += 1
            with connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        while self._answers:
            request = b""
            while b"\r\n\r\n" not in request:
                data = connection.recv(65536)
                if not data:
                    return
                request += data
            self.requests.append(request)
            connection.sendall(self._answers.pop(0))
            if self._closes:
                return

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def stub(*answers: bytes, closes: bool = False) -> Iterator[Stub]:
    """``closes``: the connection, after each answer."""
    server = Stub(answers, closes)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        thread.join(5)
        server.close()


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)
