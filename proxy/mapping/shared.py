"""Shared types: what many workspaces import in the same form is one CRD of the shard, for all of them.

Its group is ``0kcp<identity>.<group>``. The identity is a digest of all that such a type is: whoever imports the same
finds the same. No workspace's own group begins like that (all begin with a token, and that with a letter), and a
workspace finds the way to a shared group in its bindings alone, which are no workspace's to write.
"""

from __future__ import annotations

import base64
import hashlib
import re

from stringzilla import find

MARK = "0kcp"
IDENTITY_LENGTH = 12
"""Characters of 5 bits each. Few, as a quota's key has but 63 characters for a type; whoever binds a workspace to a CRD
compares the whole digest."""
LENGTH = len(MARK) + IDENTITY_LENGTH + 1
"""Characters in front of the plain group."""

_MARK = MARK.encode()
_FRONT = re.compile(rb"0kcp[a-z2-7]{12}\.")
_BEGUN = re.compile(rb"0kcp[a-z2-7]{0,12}\Z")
_GROUP = re.compile(r"0kcp[a-z2-7]{12}\.(.+)", re.DOTALL)
_MANY = 16


def digest_of(content: bytes) -> str:
    """All of it, in the alphabet of identities."""
    return base64.b32encode(hashlib.sha256(content).digest()).decode().lower().rstrip("=")


def identity_of(digest: str) -> str:
    return digest[:IDENTITY_LENGTH]


def shared_group(identity: str, group: str) -> str:
    """On the shard."""
    return f"{MARK}{identity}.{group}"


def plain_group(group: str) -> str | None:
    """What workspaces call a shared group of the shard; None for any other group."""
    match = _GROUP.fullmatch(group)
    return match[1] if match else None


def holds_identity(data: bytes) -> bool:
    """Whether it holds what answers lose."""
    return _MARK in data and _FRONT.search(data) is not None


def without_identities(data: bytes) -> bytes:
    """Shared groups as workspaces call them. A list has the identity of its type thousands of times, and hardly
    another: each is replaced as a whole, which is as fast as bytes are copied."""
    at = find(data, _MARK)
    many = 0
    while at >= 0:
        found = data[at : at + LENGTH]
        if _FRONT.fullmatch(found):
            if many == _MANY:
                return _FRONT.sub(b"", data)
            many += 1
            data = data.replace(found, b"")
        else:
            at += 1
        at = find(data, _MARK, at)
    return data


def unfinished(data: bytes) -> int:
    """Length of the end of ``data`` that may become the front of a shared group."""
    at = data.rfind(_MARK, max(0, len(data) - LENGTH + 1))
    if at >= 0 and _BEGUN.match(data, at):
        return len(data) - at
    return next((length for length in range(min(len(_MARK) - 1, len(data)), 0, -1) if data.endswith(_MARK[:length])), 0)
