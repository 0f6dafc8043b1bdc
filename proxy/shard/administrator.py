"""Who has all rights on an embedded control plane, known by a random token.

A token is found in a table: a kube-apiserver verifies a client certificate anew for every request, chain and all, which
takes it 0.15 ms of CPU, a fifth of a small GET.
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file
"""

from __future__ import annotations

import csv
import io
import secrets
from pathlib import Path

from proxy.shard.pki import PkiError, write_private

USER = "kcp-controller"
GROUP = "system:masters"


class Administrator:
    """Of the control plane whose keys lie in ``folder``; raises PkiError for a file that holds no token of it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tokens.csv"
        """For ``--token-auth-file``; made once, mode 0600. Who removes it is given another token at the next start."""
        if not self.file.exists():
            write_private(self.file, f'{secrets.token_urlsafe(32)},{USER},{USER},"{GROUP}"\n'.encode())
        rows = list(csv.reader(io.StringIO(self.file.read_text())))
        found = [row[0] for row in rows if row[1:2] == [USER]]
        if len(found) != 1 or not found[0]:
            raise PkiError(f"{self.file}: no token of {USER}: remove the file, and another is made")
        self.token = found[0]
