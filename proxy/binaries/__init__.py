"""The control-plane programs: where they are, and how they get there."""

from proxy.binaries.find import NAMES, BinaryError, find
from proxy.binaries.obtain import ensure

__all__ = ["NAMES", "BinaryError", "ensure", "find"]
