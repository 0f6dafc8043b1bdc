"""Who asks: a user with plain names, and the same user as a shard sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxy.mapping.names import map_group, map_user

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated (or anonymous) user; hashable, so that decisions about it can be cached."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    workspace_token: str | None = None
    """Set for identities that exist in one workspace only: its service accounts, and impersonated users."""
    masters: bool = field(default=False)
    """Whether proxy-wide administration comes with it: group system:masters of a token file or client certificate,
    never of a service account or an impersonation."""

    @property
    def anonymous(self) -> bool:
        return self.name == ANONYMOUS.name


ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))


def can_be_named(name: str) -> bool:
    """Whether a user or group of this name can be told to a shard in a header, unchanged: what a server would trim
    there, or take for another header, must not become somebody else."""
    return name.isprintable() and name == name.strip()


def authenticated(name: str, groups: tuple[str, ...], uid: str = "") -> User:
    """A user of the whole proxy (token file, client certificate, issuer). Raises ValueError unless `can_be_named`."""
    if not name or not all(map(can_be_named, (name, *groups))):
        raise ValueError("the name of a user or group is empty, is not printable, or begins or ends with a space")
    every = groups if AUTHENTICATED in groups else (*groups, AUTHENTICATED)
    return User(name, every, uid, masters=MASTERS in groups)


USER_HEADER, GROUP_HEADER = b"impersonate-user", b"impersonate-group"
"""By which a shard learns who asks: an administrator of it asks for somebody else.
https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/"""
EXTRA_HEADER = b"impersonate-extra-"
"""What the name of an extra's header begins with."""


def mapped_identity(user: User, prefix: str) -> tuple[str, tuple[str, ...]]:
    """User name and groups as they stand on the shard."""
    return map_user(user.name, prefix), tuple(map_group(group, prefix) for group in user.groups)


def identity_headers(user: User, prefix: str, *, privileged: bool, own: bool = False) -> list[Header]:
    """Headers that name the mapped user, ``privileged`` by the group that the shard never asks about. Its own groups
    are there where it is not, or where they are what is asked for (``own``).

    A privileged request is safe only behind the gate, which confines it to the workspace.
    """
    headers = [(USER_HEADER, map_user(user.name, prefix).encode())]
    if privileged:
        headers.append((GROUP_HEADER, MASTERS.encode()))
    if own or not privileged:
        headers += [(GROUP_HEADER, map_group(group, prefix).encode()) for group in user.groups]
    return headers
