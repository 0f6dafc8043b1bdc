"""AuthenticationConfiguration of apiserver.config.k8s.io: issuers of tokens, and what is let in without any.

https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/. What kube-apiserver refuses is refused, and what
only it can do (egress selectors) as well.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from proxy.auth.cel import CelError, Expression
from proxy.auth.issuers import Claim, Issuer, Rule

GROUP = "apiserver.config.k8s.io"
VERSIONS = ("v1", "v1beta1", "v1alpha1")
KIND = "AuthenticationConfiguration"
_KEY = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[a-z0-9._~%!$&'()*+,;=:@/-]+")
"""Of an extra: a domain, a slash, a path, in lower case."""
_RESERVED = ("k8s.io", "kubernetes.io")
_MAIL = re.compile(r"claims\.email\b")
_VERIFIED = re.compile(r"claims\.\??email_verified\b")
_BOOL, _STRING, _STRINGS = ("bool",), ("string",), ("string", "list")


class AuthenticationFileError(ValueError):
    """File, field and fault in a line."""


@dataclass(frozen=True, slots=True)
class Anonymous:
    enabled: bool = True
    paths: frozenset[str] | None = None
    """Where; None: everywhere."""

    @property
    def everywhere(self) -> bool:
        return self.enabled and self.paths is None

    def at(self, path: str) -> bool:
        return self.enabled and (self.paths is None or path in self.paths)


@dataclass(frozen=True, slots=True)
class Authentication:
    issuers: tuple[Issuer, ...] = ()
    anonymous: Anonymous = Anonymous()


def read_authentication(file: Path) -> Authentication:
    """Raises AuthenticationFileError."""
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AuthenticationFileError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    try:
        return _authentication(_Field(content, ""))
    except _Fault as error:
        raise AuthenticationFileError(f"{file}: {error}") from error


class _Fault(ValueError):
    pass


class _Field:
    """A value and where it stands. Every way to look at one raises _Fault for what is not of that type."""

    def __init__(self, value: Any, path: str) -> None:
        self.value = value
        self.path = path

    def fault(self, what: str) -> _Fault:
        return _Fault(f"{self.path}: {what}" if self.path else what)

    def fields(self, *names: str) -> Mapping[str, _Field]:
        """A mapping that has none but these; what is missing or null is there as a field of None."""
        value = {} if self.value is None else self.value
        if not isinstance(value, dict):
            raise self.fault("wanted a mapping")
        for key in value:
            if key not in names:
                raise self.fault(f"there is no field {key!r}")
        return {name: _Field(value.get(name), f"{self.path}.{name}".lstrip(".")) for name in names}

    def items(self) -> Iterator[_Field]:
        if not isinstance(self.value, list | None):
            raise self.fault("wanted a list")
        for number, item in enumerate(self.value or ()):
            yield _Field(item, f"{self.path}[{number}]")

    def text(self, *, needed: bool = False) -> str:
        if not isinstance(self.value, str | None):
            raise self.fault(f"wanted a string, not {self.value!r}")
        if needed and not self.value:
            raise self.fault("is needed")
        return self.value or ""

    def expression(self, variable: str, kinds: tuple[str, ...]) -> Expression:
        try:
            return Expression(self.text(needed=True), variable, kinds)
        except CelError as error:
            raise self.fault(str(error)) from error


def _authentication(document: _Field) -> Authentication:
    parts = document.fields("apiVersion", "kind", "jwt", "anonymous")
    if parts["kind"].value != KIND or parts["apiVersion"].value not in [f"{GROUP}/{version}" for version in VERSIONS]:
        raise _Fault(f"wanted kind {KIND} of {GROUP}/{VERSIONS[0]}")
    issuers: dict[str, Issuer] = {}
    documents: set[str] = set()
    for item in parts["jwt"].items():
        issuer = _issuer(item)
        place = _Field(None, f"{item.path}.issuer.url")
        if issuer.url in issuers:
            raise place.fault(f"{issuer.url} is there twice")
        if issuer.discovery_url in documents:
            raise place.fault(f"{issuer.discovery_url} is there twice")
        issuers[issuer.url] = issuer
        if issuer.discovery_url:
            documents.add(issuer.discovery_url)
    return Authentication(tuple(issuers.values()), _anonymous(parts["anonymous"]))


def _anonymous(field: _Field) -> Anonymous:
    if field.value is None:
        return Anonymous()
    parts = field.fields("enabled", "conditions")
    enabled = parts["enabled"].value
    if not isinstance(enabled, bool | None):
        raise parts["enabled"].fault("wanted true or false")
    conditions = list(parts["conditions"].items())
    paths = [condition.fields("path")["path"].text(needed=True) for condition in conditions]
    if paths and not enabled:
        raise parts["conditions"].fault("they are for anonymous requests that are enabled")
    return Anonymous(bool(enabled), frozenset(paths) if paths else None)


def _issuer(field: _Field) -> Issuer:
    parts = field.fields("issuer", "claimValidationRules", "claimMappings", "userValidationRules")
    where = parts["issuer"].fields(
        "url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy", "egressSelectorType"
    )
    maps = parts["claimMappings"].fields("username", "groups", "uid", "extra")
    if where["egressSelectorType"].value:
        raise where["egressSelectorType"].fault("there are no egress selectors here")
    username = _mapped(maps["username"], _STRING, prefixed=True)
    if username is None:
        raise maps["username"].fault("claim or expression is needed")
    url, elsewhere = _url(where["url"]), where["discoveryURL"].text()
    if elsewhere and _url(where["discoveryURL"]) == url:
        raise where["discoveryURL"].fault("is the same as url")
    extra = _extra(maps["extra"])
    required, claim_rules = _claim_rules(parts["claimValidationRules"])
    user_rules = parts["userValidationRules"].items()
    _check_mail(maps["username"], username, [made for _, made in extra] + [rule.holds for rule in claim_rules])
    return Issuer(
        url=url,
        discovery_url=elsewhere or None,
        authority=_authority(where["certificateAuthority"]),
        audiences=_audiences(where["audiences"], where["audienceMatchPolicy"]),
        username=username,
        groups=_mapped(maps["groups"], _STRINGS, prefixed=True),
        uid=_mapped(maps["uid"], _STRING, prefixed=False),
        extra=extra,
        required=required,
        claim_rules=claim_rules,
        user_rules=tuple(_rule(item.fields("expression", "message"), "user") for item in user_rules),
    )


def _url(field: _Field) -> str:
    text = field.text(needed=True)
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise field.fault(f"{text}: wanted an https URL without user, query and fragment")
    return text


def _authority(field: _Field) -> str | None:
    text = field.text()
    if text:
        try:
            ssl.create_default_context(cadata=text)
        except (ssl.SSLError, ValueError) as error:
            raise field.fault("holds no certificates") from error
    return text or None


def _audiences(field: _Field, policy: _Field) -> tuple[str, ...]:
    audiences = tuple(item.text(needed=True) for item in field.items())
    if not audiences:
        raise field.fault("is needed")
    if len(set(audiences)) != len(audiences):
        raise field.fault("one is there twice")
    if policy.text() not in ("", "MatchAny"):
        raise policy.fault(f"{policy.value}: wanted MatchAny")
    if len(audiences) > 1 and not policy.value:
        raise policy.fault("must be MatchAny where there are several audiences")
    return audiences


def _mapped(field: _Field, kinds: tuple[str, ...], *, prefixed: bool) -> Claim | Expression | None:
    parts = field.fields("claim", "expression", *(("prefix",) if prefixed else ()))
    claim, expression = parts["claim"].text(), parts["expression"].text()
    prefix = parts.get("prefix")
    if claim and expression:
        raise field.fault("claim and expression exclude each other")
    if prefix is not None and prefix.value is not None and not claim:
        raise prefix.fault("is for a claim")
    if expression:
        return parts["expression"].expression("claims", kinds)
    if not claim:
        return None
    if prefix is not None and prefix.value is None:
        raise prefix.fault('is needed with a claim ("" for none)')
    return Claim(claim, prefix.text() if prefix else "")


def _extra(field: _Field) -> tuple[tuple[str, Expression], ...]:
    extra: dict[str, Expression] = {}
    for item in field.items():
        parts = item.fields("key", "valueExpression")
        key = parts["key"].text(needed=True)
        domain = key.partition("/")[0]
        if not _KEY.fullmatch(key):
            raise parts["key"].fault(f"{key}: wanted DOMAIN/PATH in lower case")
        if domain.endswith(_RESERVED) and any(domain == end or domain.endswith(f".{end}") for end in _RESERVED):
            raise parts["key"].fault(f"{key}: {domain} is reserved")
        if key in extra:
            raise parts["key"].fault(f"{key} is there twice")
        extra[key] = parts["valueExpression"].expression("claims", _STRINGS)
    return tuple(extra.items())


def _claim_rules(field: _Field) -> tuple[tuple[tuple[str, str], ...], tuple[Rule, ...]]:
    required: dict[str, str] = {}
    rules: list[Rule] = []
    for item in field.items():
        parts = item.fields("claim", "requiredValue", "expression", "message")
        claim, value = parts["claim"].text(), parts["requiredValue"].text()
        if bool(claim) == bool(parts["expression"].text()):
            raise item.fault("wanted either claim or expression")
        if not claim:
            if value:
                raise parts["requiredValue"].fault("is for a claim")
            rules.append(_rule(parts, "claims"))
            continue
        if parts["message"].text():
            raise parts["message"].fault("is for an expression")
        if claim in required:
            raise parts["claim"].fault(f"{claim} is there twice")
        required[claim] = value
    return tuple(required.items()), tuple(rules)


def _rule(parts: Mapping[str, _Field], variable: str) -> Rule:
    return Rule(parts["expression"].expression(variable, _BOOL), parts["message"].text())


def _check_mail(field: _Field, username: Claim | Expression, others: list[Expression]) -> None:
    """Who names users by mail must have looked whether it is theirs."""
    if not isinstance(username, Expression) or not _MAIL.search(username.text):
        return
    if not any(_VERIFIED.search(made.text) for made in (username, *others)):
        where = "here, in extra or in claimValidationRules"
        raise field.fault(f"claims.email_verified must be looked at ({where}) where claims.email is used")
