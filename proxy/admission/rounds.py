"""Mutating plugins are asked twice where one of them has changed an object, for who wants to see what others made.

Follows k8s.io/apiserver/pkg/admission/reinvocation.go and the ``reinvocationcontext.go`` of its plugins.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from proxy.admission.jsonpatch import same


class Invoked:
    """Whom of its own a plugin has asked about a request."""

    def __init__(self) -> None:
        self._called: set[Hashable] = set()
        """Those that want to be asked again where something is changed after them."""
        self._again: set[Hashable] = set()
        self._left: Any = None

    def begin(self, seen: Any, *, second: bool) -> None:
        """``seen``: the object, as the plugin finds it."""
        if second and not same(seen, self._left):
            self.changed()

    def end(self, left: Any) -> None:
        """``left``: the object, as the plugin leaves it; nobody may change it in place."""
        self._left = left

    def changed(self) -> None:
        """The object was."""
        self._again |= self._called
        self._called.clear()

    def called(self, key: Hashable, *, wants_more: bool) -> None:
        if wants_more:
            self._called.add(key)

    def is_due(self, key: Hashable) -> bool:
        """In the second round."""
        return key in self._again


class Rounds:
    """Of one request."""

    def __init__(self) -> None:
        self.second = False
        self.wanted = False
        """Whether there is a second one."""
        self._invoked: dict[str, Invoked] = {}

    def of(self, plugin: str) -> Invoked:
        return self._invoked.setdefault(plugin, Invoked())
