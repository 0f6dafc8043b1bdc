"""Workspaces whose owner's rights follow from who made them: no role in the parent says so yet."""

from __future__ import annotations

from collections.abc import Iterable


class Implied:
    """Their paths, by parent and by owner (plain name), so that nobody has to look at all children of a parent."""

    def __init__(self) -> None:
        self._by_parent: dict[str, dict[str, set[str]]] = {}

    def add(self, parent: str, owner: str, path: str) -> None:
        self._by_parent.setdefault(parent, {}).setdefault(owner, set()).add(path)

    def remove(self, parent: str, owner: str, path: str) -> None:
        """Also where it is not among them."""
        owners = self._by_parent.get(parent, {})
        paths = owners.get(owner, set())
        paths.discard(path)
        if not paths:
            owners.pop(owner, None)
        if not owners:
            self._by_parent.pop(parent, None)

    def any_in(self, parent: str) -> bool:
        return parent in self._by_parent

    def of(self, parent: str, owner: str) -> Iterable[str]:
        return self._by_parent.get(parent, {}).get(owner, ())

    def all_in(self, parent: str) -> list[str]:
        return [path for paths in self._by_parent.get(parent, {}).values() for path in paths]
