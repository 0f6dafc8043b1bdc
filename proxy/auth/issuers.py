"""Whose ID tokens are believed, and which user the claims of one make.

As kube-apiserver has it, whether flags said it or an AuthenticationConfiguration:
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from proxy.auth.cel import CelError, Expression
from proxy.auth.identity import User, authenticated

ASYMMETRIC = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")


class Refused(Exception):
    """Claims that make no user, and why."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim says, with ``prefix`` before it."""

    name: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """``holds`` must be true."""

    holds: Expression
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    url: str
    """Compared with the token's ``iss`` letter by letter."""
    audiences: tuple[str, ...]
    """One of them must be in the token's ``aud``."""
    username: Claim | Expression
    groups: Claim | Expression | None = None
    uid: Claim | Expression | None = None
    extra: tuple[tuple[str, Expression], ...] = ()
    required: tuple[tuple[str, str], ...] = ()
    """Claims that must be there, with these values."""
    claim_rules: tuple[Rule, ...] = ()
    user_rules: tuple[Rule, ...] = ()
    discovery_url: str | None = None
    """Where its document is, if not at ``url``."""
    authority: str | None = None
    """PEM of the CAs that its certificate is checked with; None: those of the system."""
    algorithms: tuple[str, ...] = ASYMMETRIC

    def user(self, claims: Mapping[str, Any]) -> User:
        """The user that verified claims name. Raises Refused."""
        try:
            self._check(claims)
            name = self._name(claims)
            groups = _strings(_value(self.groups, claims), "groups")
            uid = _value(self.uid, claims)
            extra = tuple((key, _strings(made(claims), key)) for key, made in self.extra)
            if uid is not None and not isinstance(uid, str):
                raise Refused("its uid is not a string")
            # An issuer vouches for its own users, not for the control plane's: no claim makes a system:masters.
            if name.startswith("system:"):
                raise Refused(f"user {name} is the control plane's")
            kept = tuple(group for group in groups if not group.startswith("system:"))
            user = replace(authenticated(name, kept, uid or ""), extra=tuple(item for item in sorted(extra) if item[1]))
            self._check_user(user, kept)
        except (CelError, ValueError) as error:
            raise Refused(str(error)) from error
        return user

    def _check(self, claims: Mapping[str, Any]) -> None:
        for name, value in self.required:
            if claims.get(name) != value:
                raise Refused(f"claim {name} is not {value!r}")
        for rule in self.claim_rules:
            if rule.holds(claims) is not True:
                raise Refused(rule.message or f"not true: {rule.holds.text}")

    def _name(self, claims: Mapping[str, Any]) -> str:
        username = self.username
        by_mail = isinstance(username, Claim) and username.name == "email"
        if by_mail and claims.get("email_verified", True) is not True:
            raise Refused("its email is not verified")
        name = _value(username, claims)
        if not isinstance(name, str) or not name:
            raise Refused("it names no user")
        return name

    def _check_user(self, user: User, groups: tuple[str, ...]) -> None:
        if self.user_rules:
            seen: dict[str, Any] = {"username": user.name, "uid": user.uid, "groups": list(groups)}
            seen["extra"] = {key: list(values) for key, values in user.extra}
            for rule in self.user_rules:
                if rule.holds(seen) is not True:
                    raise Refused(rule.message or f"not true: {rule.holds.text}")


def _value(source: Claim | Expression | None, claims: Mapping[str, Any]) -> Any:
    """What is mapped, with its prefix; None where the claim is not there."""
    if source is None:
        return None
    if isinstance(source, Expression):
        return source(claims)
    value = claims.get(source.name)
    if isinstance(value, str) and value:
        return source.prefix + value
    if isinstance(value, list | tuple):
        return [source.prefix + item if isinstance(item, str) else item for item in value]
    return value


def _strings(value: Any, what: str) -> tuple[str, ...]:
    """A string or list of strings; nothing for what is empty. Raises Refused."""
    items = [value] if isinstance(value, str) else () if value is None else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise Refused(f"its {what} are not strings")
    return tuple(item for item in items if item)
