"""Log lines in both forms, without credentials."""

from __future__ import annotations

import json
import logging
import re
import sys

import pytest

from proxy.auth.identity import User
from proxy.logs import HIDDEN, ConsoleFormatter, JsonFormatter, level_of, without_credentials
from proxy.mapping.paths import parse
from proxy.server.messages import ENTRY, Record, Request, identify
from proxy.server.requestlog import fields_of

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


def line(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    record = logging.LogRecord("proxy.some", logging.INFO, "f", 1, message, arguments, None)
    record.fields = fields
    return record


def test_console() -> None:
    text = ConsoleFormatter().format(line("request of %s", "alice", verb="get", name="a b", empty="", seconds=0.5))
    assert re.fullmatch(
        r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO proxy\.some: request of alice verb=get name="a b" empty="" '
        r"seconds=0\.500000",
        text,
    )


def test_a_line_stays_a_line() -> None:
    """A name with a line break in it cannot make up a line of its own."""
    for form in (ConsoleFormatter(), JsonFormatter()):
        assert "\n" not in form.format(line("request", user="eve\n2026-01-01T00:00:00.000Z ERROR all is lost"))


def test_json() -> None:
    found = json.loads(JsonFormatter().format(line("request of %s", "alice", code=200)))
    assert (found["level"], found["logger"], found["msg"], found["code"]) == (
        "info",
        "proxy.some",
        "request of alice",
        200,
    )
    assert found["ts"].endswith("Z")


def test_errors_are_told() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "it failed", (), sys.exc_info())
    assert "ValueError: why" in ConsoleFormatter().format(record)
    assert "ValueError: why" in json.loads(JsonFormatter().format(record))["error"]


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("Authorization: Bearer s3cr3t-token=", f"Authorization: Bearer {HIDDEN}"),
        (f"token {JWT} is not good", f"token {HIDDEN} is not good"),
        ("a -----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY----- b", f"a {HIDDEN} b"),
        ("namespaces kube-system bearer of news", "namespaces kube-system bearer of news"),
    ],
)
def test_no_credentials(said: str, written: str) -> None:
    if written == said:
        assert without_credentials("the API servers of eyJ") == "the API servers of eyJ"
    else:
        assert without_credentials(said) == written
    for form in (ConsoleFormatter(), JsonFormatter()):
        assert JWT not in form.format(line("x %s", said, note=said))


def test_levels() -> None:
    assert [level_of(verbosity) for verbosity in (0, 1, 2, 4, 5)] == [30, 30, 20, 20, 10]


def test_what_is_said_of_a_request() -> None:
    request = Request(b"GET", b"/api/v1/namespaces/default/configmaps/a?pretty", [(b"user-agent", b"kubectl")])
    request.record = Record(
        info=parse(b"GET", b"/api/v1/namespaces/default/configmaps/a"), workspace="root:a", status=403,
        user=User("alice"), acting_as=User("bob"), step=ENTRY,
    )  # fmt: skip
    identify(request)
    found = fields_of(request)
    assert len(found.pop("auditID")) == 36
    found.pop("seconds")
    assert found == {
        "user": "alice", "as": "bob", "workspace": "root:a", "verb": "get", "resource": "configmaps",
        "namespace": "default", "name": "a", "code": 403, "refused": "entry", "shardSeconds": 0, "received": 0,
        "sent": 0, "peer": "", "agent": "kubectl",
    }  # fmt: skip


def test_a_clients_own_audit_id_is_kept() -> None:
    request = Request(b"GET", b"/", [])
    request.record.audit_id = b"mine"
    identify(request)
    assert request.record.audit_id == b"mine"
