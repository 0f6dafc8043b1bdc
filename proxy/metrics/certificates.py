"""When certificates end: those that kcp shows, signs with, or is known by."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography import x509

from proxy.metrics.snapshot import Family, gauge

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def earliest_end(pem: bytes) -> float | None:
    """The first end of the certificates in ``pem``, seconds of the epoch; None where there is none. Raises ValueError
    for what is no certificate."""
    found = [x509.load_pem_x509_certificate(block) for block in _PEM.findall(pem)]
    return min((certificate.not_valid_after_utc.timestamp() for certificate in found), default=None)


class Certificates:
    """Files are read again when they change; what cannot be read is not shown."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._folders: list[Path] = []
        self._known: dict[str, tuple[float, float | None]] = {}

    def watch(self, name: str, file: Path) -> None:
        """Show the PEM ``file`` as ``name``."""
        self._files[name] = file

    def watch_folder(self, folder: Path) -> None:
        """Show every ``NAME.crt`` that is ever in it as NAME, unless that is shown already."""
        self._folders.append(folder)

    def ends(self) -> dict[str, float]:
        """Name → end, seconds of the epoch."""
        found = {file.stem: file for folder in self._folders for file in sorted(folder.glob("*.crt"))}
        return {name: end for name, file in (found | self._files).items() if (end := self._end(name, file)) is not None}

    def _end(self, name: str, file: Path) -> float | None:
        try:
            changed = file.stat().st_mtime
            known = self._known.get(name)
            if known is None or known[0] != changed:
                known = self._known[name] = (changed, earliest_end(file.read_bytes()))
        except (OSError, ValueError):
            return None
        return known[1]

    def family(self) -> Family:
        return gauge(
            "kcp_certificate_expiry_timestamp_seconds",
            "When a certificate of kcp ends, seconds of the epoch.",
            "certificate",
            values={(name,): end for name, end in self.ends().items()},
        )
