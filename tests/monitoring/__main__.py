"""``python -m tests.monitoring``: obtain what the tests of metrics need."""

from __future__ import annotations

import sys

from tests.monitoring.prometheus import install

if __name__ == "__main__":
    install(lambda line: print(line, file=sys.stderr))
