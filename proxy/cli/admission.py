"""The flags of `kcp start` about webhooks of workspaces."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    url: str | None
    """``https://HOST:PORT`` at which shards reach proxies."""
    ca_file: Path | None
    networks: tuple[str, ...]
    conversions: bool
    """Whether CRDs of workspaces may have conversion webhooks."""


_OPTIONS = [
    click.option(
        "--admission-url",
        metavar="URL",
        help="https://HOST:PORT at which all shards reach this proxy, or any of several. Workspaces may have webhooks "
        "where it is known (default: only the embedded shard knows, by loopback).",
    ),
    click.option(
        "--admission-ca-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
        help="CAs by which shards know that URL (default: those of the serving certificate).",
    ),
    click.option(
        "--webhook-allow-network",
        multiple=True,
        metavar="CIDR",
        help="Network in which webhooks of workspaces may be although it is this machine's, or reached by it alone: "
        "127.0.0.0/8, say, for development. Repeatable.",
    ),
    click.option(
        "--conversion-webhooks/--no-conversion-webhooks",
        default=True,
        show_default=True,
        help="CRDs of workspaces may have conversion webhooks, on shards that know where kcp is.",
    ),
]


def admission_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags; the command gets them as ``admission``, AdmissionSettings."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        url, ca_file = values.pop("admission_url"), values.pop("admission_ca_file")
        networks, conversions = values.pop("webhook_allow_network"), values.pop("conversion_webhooks")
        if url is not None:
            parts = urlsplit(url)
            if parts.scheme != "https" or not parts.hostname or parts.path.strip("/") or parts.query:
                raise click.ClickException(f"--admission-url {url}: wanted https://HOST:PORT")
        elif ca_file is not None:
            raise click.ClickException("--admission-ca-file needs --admission-url")
        for network in networks:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise click.ClickException(f"--webhook-allow-network: {error}") from error
        return command(**values, admission=AdmissionSettings(url, ca_file, tuple(networks), conversions))

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
