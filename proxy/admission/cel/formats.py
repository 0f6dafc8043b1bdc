"""Kubernetes' named formats: what a text violates, in the words of k8s.io/apimachinery's validation."""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from proxy.admission.cel.regex import compiled
from proxy.admission.cel.urls import is_uri
from proxy.admission.cel.values import NONE, Opaque, Optional, Type

Validate = Callable[[str], list[str]]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = _LABEL + "(\\." + _LABEL + ")*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_KEY})?"
_UUID = re.compile("[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_TIME = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Format(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.NamedFormat")
    name: str
    validate: Validate

    def equals(self, other: Any) -> bool:
        return Opaque.equals(self, other) if type(other) is not Format else self.name == other.name


def _regex(message: str, pattern: str, *examples: str) -> str:
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {listed}regex used for validation is '{pattern}')"


def _longer(text: str, limit: int) -> list[str]:
    return [f"must be no more than {limit} bytes"] if len(text.encode()) > limit else []


def _matches(pattern: str, text: str) -> bool:
    return compiled(f"^(?:{pattern})$").search(text) is not None


def subdomain(text: str) -> list[str]:
    errors = _longer(text, 253)
    if not _matches(_SUBDOMAIN, text):
        errors.append(
            _regex(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
                "must start and end with an alphanumeric character", _SUBDOMAIN, "example.com"
            )
        )  # fmt: skip
    return errors


def label(text: str) -> list[str]:
    errors = _longer(text, 63)
    if not _matches(_LABEL, text):
        if _matches(_SUBDOMAIN, text):
            errors.append("must not contain dots")
        else:
            errors.append(
                _regex(
                    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must "
                    "start and end with an alphanumeric character", _LABEL, "my-name", "123-abc"
                )
            )  # fmt: skip
    return errors


def _label_1035(text: str) -> list[str]:
    errors = _longer(text, 63)
    if not _matches(_LABEL_1035, text):
        errors.append(
            _regex(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
                "character, and end with an alphanumeric character", _LABEL_1035, "my-name", "abc-123"
            )
        )  # fmt: skip
    return errors


_KEY_MESSAGE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_KEY_EXAMPLES = ("MyName", "my.name", "123-abc")


def _qualified_name(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        return [
            "a valid label key " + _regex(_KEY_MESSAGE, _KEY, *_KEY_EXAMPLES)
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]  # fmt: skip
    errors = []
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif prefix:
        errors += [f"prefix part {error}" for error in subdomain(prefix)]
    if not name:
        errors.append("name part must be non-empty")
    else:
        errors += [f"name part {error}" for error in _longer(name, 63)]
    if not _matches(_KEY, name):
        errors.append("name part " + _regex(_KEY_MESSAGE, _KEY, *_KEY_EXAMPLES))
    return errors


def _label_value(text: str) -> list[str]:
    errors = _longer(text, 63)
    if not _matches(_VALUE, text):
        errors.append(
            _regex(
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
                "must start and end with an alphanumeric character", _VALUE, "MyValue", "my_value", "12345"
            )
        )  # fmt: skip
    return errors


def _prefix(validate: Validate) -> Validate:
    """Of a name to which something is added: it may end with a dash."""

    def validate_prefix(text: str) -> list[str]:
        return validate(text[:-2] + "a" if len(text) > 1 and text.endswith("-") else text)

    return validate_prefix


def _whether(valid: Callable[[str], bool], error: str) -> Validate:
    return lambda text: [] if valid(text) else [error]


def _is_base64(text: str) -> bool:
    try:
        return bool(text) and bool(base64.b64decode(text, validate=True) or True)
    except (binascii.Error, ValueError):
        return False


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return False
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return text.startswith("0000")
    return True


def _is_datetime(text: str) -> bool:
    date, _, time = text.lower().partition("t")
    found = _TIME.fullmatch(time.partition("t")[0])
    return found is not None and _is_date(date) and found[1] <= "23" and found[2] <= "59" and found[3] <= "59"


def _uri(text: str) -> list[str]:
    error = is_uri(text)
    return [error] if error else []


FORMATS: dict[str, Format] = {
    "dns1123Label": Format("DNS1123Label", label),
    "dns1123Subdomain": Format("DNS1123Subdomain", subdomain),
    "dns1035Label": Format("DNS1035Label", _label_1035),
    "qualifiedName": Format("QualifiedName", _qualified_name),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", _prefix(label)),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", _prefix(subdomain)),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", _prefix(_label_1035)),
    "labelValue": Format("LabelValue", _label_value),
    "uri": Format("URI", _uri),
    "uuid": Format("uuid", _whether(lambda text: bool(_UUID.fullmatch(text)), "does not match the UUID format")),
    "byte": Format("byte", _whether(_is_base64, "invalid base64")),
    "date": Format("date", _whether(_is_date, "invalid date")),
    "datetime": Format("datetime", _whether(_is_datetime, "invalid datetime")),
}


def _validate(kind: Format, text: str) -> Optional:
    errors = kind.validate(text)
    return Optional(errors, True) if errors else NONE


def _named(name: str) -> Optional:
    found = FORMATS.get(name)
    return NONE if found is None else Optional(found, True)


def _constant(kind: Format) -> Callable[[], Format]:
    return lambda: kind


FUNCTIONS: dict[str, Any] = {
    "validate": {(Format, str): _validate},
    "format.named": {(str,): _named},
    **{f"format.{name}": {(): _constant(kind)} for name, kind in FORMATS.items()},
}
