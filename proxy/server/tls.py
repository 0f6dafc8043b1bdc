"""TLS towards clients. The certificate may be replaced while the proxy runs, as cert-manager and the like do it."""

from __future__ import annotations

import logging
import os
import ssl

from proxy.server.handshakes import Handshakes
from proxy.server.settings import ServerSettings

log = logging.getLogger(__name__)

Version = tuple[tuple[int, int, int], ...]
"""Of the files: what changes when one is written or replaced."""


class ServerTls:
    """``context`` for the listener. Raises OSError (ssl.SSLError is one) where certificate or key cannot be used."""

    def __init__(self, settings: ServerSettings, handshakes: Handshakes) -> None:
        self._files = (settings.cert_file, settings.key_file)
        self._version = self._look()
        self.context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        handshakes.count(context)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*self._files)
        context.set_alpn_protocols(["http/1.1"])
        if settings.client_ca_file:
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL

    def refresh(self) -> None:
        """Take what the files hold now for connections that are yet to come; cheap, to be called every few seconds.

        Files that do not belong together (one of them is not written yet) change nothing.
        """
        try:
            version = self._look()
            if version == self._version:
                return
            # Tried first: a context is left without a key by a pair that does not fit.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
            self.context.load_cert_chain(*self._files)
        except OSError as error:
            log.warning("serving certificate unchanged: %s: %s", self._files[0], error)
            return
        self._version = version
        log.info("serving certificate read again")

    def _look(self) -> Version:
        found = [os.stat(file) for file in self._files]
        return tuple((status.st_ino, status.st_size, status.st_mtime_ns) for status in found)
