"""kubectl's usual flags, and the errors that a command ends with."""

from __future__ import annotations

from typing import NamedTuple


class CommandError(Exception):
    """What a person asked for cannot be done; one line."""


class ClientError(CommandError):
    """A request that could not be made."""


class Overrides(NamedTuple):
    """None where not given."""

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    user: str | None = None
    server: str | None = None
    token: str | None = None
    certificate_authority: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    insecure_skip_tls_verify: bool | None = None
    tls_server_name: str | None = None
    act_as: str | None = None
    act_as_group: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Overrides(…)"  # a token may be among them
