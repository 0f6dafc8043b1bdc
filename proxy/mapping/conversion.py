"""``spec.conversion`` of a workspace's CRD: its webhook is called by the proxy (`proxy.mapping.detours`)."""

from __future__ import annotations

import re

from proxy.kube.errors import StatusError
from proxy.mapping.detours import Detour, is_base64
from proxy.mapping.shape import Object, mapping, text

GROUP, KIND = "apiextensions.k8s.io", "CustomResourceDefinition"
_FIELD = "spec.conversion.webhookClientConfig"
"""As a kube-apiserver calls it."""
_PARTS = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?(?://(?P<authority>[^/?#]*))?(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?(?:#(?P<fragment>.*))?",
    re.DOTALL,
)
"""RFC 3986, appendix B."""
_GOOD = re.compile(
    r"https://(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?(?:/(?:[^\x00-\x1f\x7f%?#]|%[0-9A-Fa-f]{2})*)?"
)
"""What Go reads as a URL as well."""
_FORM = "; desired format: https://host[/path]"


def map_conversion(conversion: Object, crd: str, token: str, detour: Detour | None) -> None:
    """``crd``: its name in the workspace. Raises StatusError 422."""
    webhook = mapping(conversion, "webhook")
    if detour is None and (webhook or text(conversion, "strategy") == "Webhook"):
        why = (
            "Forbidden: conversion webhooks are switched off, or the workspace's shard does not know where kcp is: ask "
            "whoever runs it (kcp start --admission-url, --no-conversion-webhooks)"
        )
        raise _invalid(crd, [("spec.conversion.strategy", "Forbidden", why)])
    config = mapping(webhook, "clientConfig") if webhook else None
    if detour is None or config is None:
        return
    if config.get("service") is not None:
        why = "Forbidden: services of a workspace have no endpoints where it is served: give a url"
        raise _invalid(crd, [(f"{_FIELD}.service", "Forbidden", why)])
    if isinstance(config.get("url"), str):
        faults = _faults(config["url"])
        if faults:
            raise _invalid(crd, [(f"{_FIELD}.url", *fault) for fault in faults])
        config["url"] = detour.url(token, crd, config["url"])
    bundle = config.get("caBundle")
    if bundle == "":
        config["caBundle"] = None  # which is the same, and leaves no trace
    elif isinstance(bundle, str) and is_base64(bundle):
        config["caBundle"] = detour.bundle + bundle


def _faults(url: str) -> list[tuple[str, str]]:
    """Reason and message of each; as ``ValidateWebhookURL`` of k8s.io/apiserver/pkg/util/webhook."""
    match = _PARTS.fullmatch(url)
    assert match is not None  # anything does
    scheme, authority, query, fragment = match.group("scheme", "authority", "query", "fragment")
    user, at, host = (authority or "").rpartition("@")
    found = []
    if scheme != "https":
        found.append(("Invalid", f"Invalid value: \"{scheme or ''}\": 'https' is the only allowed URL scheme{_FORM}"))
    if not host:
        found.append(("Invalid", f'Invalid value: "": host must be specified{_FORM}'))
    for given, value, what in (
        (at, user, "user information is"),
        (fragment, fragment, "fragments are"),
        (query, query, "query parameters are"),
    ):
        if given:
            found.append(("Invalid", f'Invalid value: "{value}": {what} not permitted in the URL'))
    if not found and _GOOD.fullmatch(url) is None:
        found.append(("Required", f'Required value: url must be a valid URL: parse "{url}": it is none{_FORM}'))
    return found


def _invalid(name: str, faults: list[tuple[str, str, str]]) -> StatusError:
    """``faults``: field, reason and message of each."""
    causes = [{"reason": f"FieldValue{reason}", "message": why, "field": field} for field, reason, why in faults]
    said = ", ".join(f"{field}: {why}" for field, _, why in faults)
    return StatusError(
        422,
        f'{KIND}.{GROUP} "{name}" is invalid: ' + (f"[{said}]" if len(faults) > 1 else said),
        details={"name": name, "group": GROUP, "kind": KIND, "causes": causes},
    )
