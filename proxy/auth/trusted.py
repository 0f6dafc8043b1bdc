"""Issuers that are believed, and what anonymous requests may ask, as settings say it now."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from proxy.auth.authentication_file import Anonymous, AuthenticationFileError, read_authentication
from proxy.auth.issuers import Issuer
from proxy.auth.leases import Epoch
from proxy.auth.oidc import Oidc
from proxy.auth.tokenfile import Version, version_of

log = logging.getLogger(__name__)


class Trusted:
    """``issuers`` for good, or those of an AuthenticationConfiguration, read again at the next `refresh` when it has
    changed; a fault in it leaves what was good.

    Raises AuthenticationFileError or OSError for a file that cannot be read now.
    """

    def __init__(self, issuers: Iterable[Issuer] = (), file: Path | None = None) -> None:
        self.oidc = Oidc(issuers)
        self.anonymous = Anonymous()
        self.epoch = Epoch()
        """Since when that is so."""
        self._file = file
        self._version: Version | None = None
        if file is not None:
            self._read(file, version_of(file))

    def refresh(self) -> bool:
        """Whether something has changed; cheap, to be called every second."""
        if self._file is None:
            return False
        try:
            version = version_of(self._file)
            if version == self._version:
                return False
            self._read(self._file, version)
        except OSError as error:
            log.warning("authentication configuration %s: %s", self._file, error.strerror)  # being replaced
            return False
        except AuthenticationFileError as error:
            self._version = version  # said once
            log.error("authentication configuration unchanged in effect: %s", error)
            return False
        log.info("authentication configuration %s is read again", self._file)
        return True

    def _read(self, file: Path, version: Version) -> None:
        read = read_authentication(file)
        self.oidc, self.anonymous, self._version = Oidc(read.issuers), read.anonymous, version
        self.epoch.over = True
        self.epoch = Epoch()
