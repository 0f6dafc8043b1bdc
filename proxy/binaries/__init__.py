"""The control-plane programs: where they are, and how they get there."""

from proxy.binaries.find import NAMES, BinaryError, find

__all__ = ["NAMES", "BinaryError", "find"]
