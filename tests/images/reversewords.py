"""A small web application: ``GET /?words=a+b`` and ``POST /`` with text answer ``b a``, ``GET /`` the host's name."""

import os
import signal
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LIMIT = 1 << 20
"""Bytes of a body that are read."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/healthz":
            self.answer("ok")
        else:
            self.reverse(" ".join(parse_qs(parts.query).get("words", [])))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.reverse(self.rfile.read(min(length, LIMIT)).decode(errors="replace"))

    def reverse(self, text: str) -> None:
        self.answer(" ".join(reversed(text.split())) or socket.gethostname())

    def answer(self, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    port = int(os.environ.get("PORT", "8080"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with ThreadingHTTPServer(("", port), Handler) as server:
        print(f"reversewords on port {port}", file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
