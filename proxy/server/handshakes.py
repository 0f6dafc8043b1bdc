"""TLS handshakes of clients, counted by how they end: the event loop tells nobody of those that fail."""

from __future__ import annotations

import ssl

OK, NOT_TLS, VERSION, CERTIFICATE, REFUSED, OTHER = RESULTS = (
    "ok", "not-tls", "version", "certificate", "refused", "other"
)  # fmt: skip
"""What a client spoke was no TLS; a version that is too old; a client certificate that does not verify; the client does
not trust the server's certificate."""

_BY_REASON = {
    "HTTP_REQUEST": NOT_TLS,
    "WRONG_VERSION_NUMBER": NOT_TLS,
    "UNSUPPORTED_PROTOCOL": VERSION,
    "CERTIFICATE_VERIFY_FAILED": CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": REFUSED,
    "SSLV3_ALERT_BAD_CERTIFICATE": REFUSED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": REFUSED,
}
"""OpenSSL's reasons, ``ssl.SSLError.reason``."""


class Handshakes:
    """``counts`` by result."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(RESULTS, 0)

    def count(self, context: ssl.SSLContext) -> None:
        """Count the handshakes of all connections made with ``context`` from now on."""
        counts = self.counts

        class Counted(ssl.SSLObject):
            def do_handshake(self) -> None:
                try:
                    super().do_handshake()
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    raise  # more is to come
                except ssl.SSLError as error:
                    counts[_BY_REASON.get(error.reason or "", OTHER)] += 1
                    raise
                counts[OK] += 1

        context.sslobject_class = Counted
