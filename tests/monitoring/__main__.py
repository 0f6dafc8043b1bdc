"""``python -m tests.monitoring``: obtain what the tests of metrics need."""

from __future__ import annotations

import sys

from tests.monitoring import operator
from tests.monitoring.prometheus import install


def say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    install(say)
    operator.obtain(say)
