"""Which workspace a request is about: the beginning of its path says so."""

from __future__ import annotations

import urllib.parse
from functools import lru_cache

from proxy.mapping.paths import bad_path

CLUSTERS = b"/clusters/"
"""What paths of workspaces begin with."""


def split_workspace(target: bytes) -> tuple[str | None, bytes]:
    """``/clusters/root:a/api/v1?x`` → (``root:a``, ``/api/v1?x``); (None, target) for a path without workspace.

    Raises StatusError 400 for a path that is no workspace's.
    """
    if not target.startswith(CLUSTERS):
        return None, target
    end = target.find(b"/", len(CLUSTERS))
    if end < 0:
        end = len(target)
    query = target.find(b"?", len(CLUSTERS), end)
    if query >= 0:
        end = query
    rest = target[end:]
    return _path_of(target[len(CLUSTERS) : end]), rest if rest.startswith(b"/") else b"/" + rest


@lru_cache(maxsize=4096)
def _path_of(escaped: bytes) -> str:
    """A workspace's path as the index has it. Raises StatusError 400."""
    path = escaped.decode("latin-1")
    if "%" in path:
        path = urllib.parse.unquote(path)
    if not path or len(path) > 1024 or not path.isprintable() or not path.isascii() or "/" in path:
        raise bad_path("it names no workspace")
    return path
