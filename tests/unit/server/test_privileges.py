"""Where requests get the rights that no shard asks about."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import proxy

TOP = Path(proxy.__file__).parent


def nodes(word: str) -> Iterator[tuple[str, ast.AST]]:
    """All parts of those modules that have ``word`` in them, with the module's path."""
    for file in TOP.rglob("*.py"):
        source = file.read_text()
        if word in source:
            yield from ((file.relative_to(TOP).as_posix(), node) for node in ast.walk(ast.parse(source)))


def test_privileges_are_given_at_one_place_alone() -> None:
    """Which is behind the gate."""
    function = "identity_headers"
    calls = [file for file, node in nodes(function) if isinstance(node, ast.Call) and _name(node.func) == function]
    assert calls == ["server/sending.py"]


def test_the_privileged_group_is_named_nowhere_else() -> None:
    """But where certificates are made, and where a group that a user claims is compared with it."""
    named = {
        file
        for file, node in nodes("system:masters")
        if isinstance(node, ast.Constant) and node.value == "system:masters"
    }
    assert named == {"auth/identity.py", "shard/administrator.py", "shard/control_plane.py"}
    read = {file for file, node in nodes("MASTERS") if _name(node) == "MASTERS"}
    assert read == {"auth/identity.py", "auth/impersonation.py"}


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
