"""The ``--oidc-*`` flags of `kcp start`, as kube-apiserver has them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from proxy.auth.oidc import OidcSettings

_OPTIONS = [
    click.option("--oidc-issuer-url", metavar="URL", help="OpenID Connect issuer whose ID tokens are accepted."),
    click.option("--oidc-client-id", metavar="ID", help="What tokens must be issued for."),
    click.option("--oidc-username-claim", default="sub", show_default=True, help="Claim that names the user."),
    click.option("--oidc-username-prefix", help="Put before user names; - for nothing (default: the issuer's URL#)."),
    click.option("--oidc-groups-claim", help="Claim that names the user's groups."),
    click.option("--oidc-groups-prefix", default="", help="Put before group names."),
    click.option("--oidc-required-claim", multiple=True, metavar="KEY=VALUE", help="Must be in the token. Repeatable."),
    click.option("--oidc-signing-algs", default="RS256", show_default=True, help="Accepted algorithms, with commas."),
    click.option("--oidc-ca-file", type=click.Path(exists=True, dir_okay=False), help="CA of the issuer."),
]


def oidc_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags; the command gets them as ``oidc``, an OidcSettings or None."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        given = {name.removeprefix("oidc_"): values.pop(name) for name in list(values) if name.startswith("oidc_")}
        return command(**values, oidc=_settings(given))

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _settings(given: dict[str, Any]) -> OidcSettings | None:
    """Raises click.ClickException for flags that make no sense together."""
    if not given["issuer_url"]:
        if given["client_id"]:
            raise click.ClickException("--oidc-issuer-url is needed with --oidc-client-id")
        return None
    settings = OidcSettings(
        issuer_url=given["issuer_url"],
        client_id=given["client_id"] or "",
        username_claim=given["username_claim"],
        username_prefix=given["username_prefix"],
        groups_claim=given["groups_claim"],
        groups_prefix=given["groups_prefix"],
        required_claims=tuple(given["required_claim"]),
        signing_algs=tuple(part.strip() for part in given["signing_algs"].split(",") if part.strip()),
        ca_file=given["ca_file"],
    )
    problem = settings.problem()
    if problem:
        raise click.ClickException(problem)
    return settings
