"""What is read of classes and of pods."""

from __future__ import annotations

import orjson

from proxy.discovery.classes import Class, names_of_pod, newest
from proxy.mapping.protobuf import MAGIC
from proxy.mapping.wire import field


def test_a_pods_class_is_found_in_both_encodings() -> None:
    body = {"metadata": {"name": "p"}, "spec": {"priorityClassName": "high", "priority": 3}}
    assert names_of_pod(orjson.dumps(body)) == ("p", "high")
    pod = field(1, field(1, b"p")) + field(2, field(24, b"high"))
    envelope = MAGIC + field(1, field(1, b"v1") + field(2, b"Pod")) + field(2, pod)
    assert names_of_pod(envelope) == ("p", "high")


def test_what_cannot_be_read_names_none() -> None:
    for body in (b"", b"[]", b"{", b'{"spec":[]}', b'{"spec":{"priorityClassName":3}}', MAGIC + b"x"):
        assert names_of_pod(body)[1] == ""


def test_the_newest_default_wins_and_then_the_first_name() -> None:
    old = Class("old", True, "2026-01-01T00:00:00Z")
    b, a = (Class(name, True, "2026-01-02T00:00:00Z") for name in "ba")
    assert newest([old, b, a]) is a
