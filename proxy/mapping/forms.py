"""In which form a client wants its answer, and what the shard is asked for instead.

A shard gives compact JSON, of which alone the internal label can be taken out as it streams; indented JSON and YAML are
made of it here. Semantics: ``k8s.io/apiserver/pkg/endpoints/handlers/negotiation``.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import NamedTuple

from proxy.kube.errors import StatusError

JSON, YAML = b"application/json", b"application/yaml"
PEOPLE = (b"curl", b"Wget", b"Mozilla/5.0")
"""Beginnings of the user agents that get indented answers unasked."""
NONE = b"application/x-none"
"""What no shard can give: its own refusal of it is the answer."""
STREAMS = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
_PARAMETERS = frozenset({b"as", b"v", b"g", b"q", b"stream", b"charset"})
"""What goes on of an accepted media type."""


class Form(enum.Enum):
    COMPACT = "compact JSON"
    INDENTED = "indented JSON"
    YAML = "YAML"


class Wanted(NamedTuple):
    accept: bytes
    """For the shard."""
    form: Form


@lru_cache(maxsize=256)
def accepted(accept: bytes) -> Wanted:
    """What ``accept`` comes to; JSON is preferred to every form but YAML that is named before it."""
    if not accept.strip():
        return Wanted(JSON, Form.COMPACT)
    json: list[bytes] = []
    yaml: list[bytes] = []
    yaml_first = indented = False
    for clause in _by_weight(accept):
        media, *parameters = (piece.strip() for piece in clause.split(b";"))
        media = media.lower()
        named = [item for item in parameters if item.partition(b"=")[0].strip().lower() in _PARAMETERS]
        if media in (JSON, b"*/*", b"application/*"):
            if not json:
                indented = b"pretty=1" in parameters
            # Native resources do not know ``application/*``, custom ones take it for JSON.
            json.append(b";".join([media if media == b"application/*" else JSON, *named]))
        elif media == YAML:
            yaml_first = yaml_first or not json
            yaml.append(b";".join([JSON, *named]))
    kept = yaml if yaml_first else json
    if not kept:
        return Wanted(NONE, Form.INDENTED)
    form = Form.YAML if yaml_first else Form.INDENTED if indented else Form.COMPACT
    return Wanted(b",".join(dict.fromkeys(kept)), form)


def _by_weight(accept: bytes) -> list[bytes]:
    """Clauses of an Accept header, the most wanted first."""
    clauses = accept.split(b",")
    return sorted(clauses, key=_weight, reverse=True) if b"q=" in accept else clauses


def _weight(clause: bytes) -> float:
    for parameter in clause.split(b";")[1:]:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            try:
                return float(value)
            except ValueError:
                return 1.0
    return 1.0


def wanted(accept: bytes, pretty: str, user_agent: bytes) -> Wanted:
    """The same for a whole request; ``pretty``: the first value of that query parameter."""
    found = accepted(accept)
    if found.form is Form.COMPACT and wants_pretty(pretty, user_agent):
        return Wanted(found.accept, Form.INDENTED)
    return found


def wanted_stream(accept: bytes) -> Wanted:
    """The same for a watch, whose events are never indented. Raises StatusError 406 for YAML, which has no streams."""
    found = accepted(accept)
    if found.form is Form.YAML:
        raise StatusError(406, f"only the following media types are accepted: {STREAMS}")
    return Wanted(found.accept, Form.COMPACT)


def wants_pretty(pretty: str, user_agent: bytes) -> bool:
    """As ``isPrettyPrint``: the parameter if it has a value, else by the user agent."""
    return pretty in ("1", "t", "T", "true", "TRUE", "True") if pretty else user_agent.startswith(PEOPLE)
