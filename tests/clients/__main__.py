"""``python -m tests.clients``: obtain the clients that are no Python packages."""

from __future__ import annotations

import sys

from tests.clients.programs import obtain

if __name__ == "__main__":
    obtain(lambda line: print(line, file=sys.stderr))
