"""The words of a 403: those of a kube-apiserver 1.36."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.auth.forbidden import forbidden, no_entry
from proxy.auth.identity import ANONYMOUS, User
from proxy.mapping.paths import parse

BOB = User("bob")


@pytest.mark.parametrize(
    ("method", "target", "message", "details"),
    [
        (
            "GET",
            "/api/v1/namespaces/default/configmaps",
            'configmaps is forbidden: User "bob" cannot list resource "configmaps" in API group "" '
            'in the namespace "default"',
            {"kind": "configmaps"},
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/default/deployments/x",
            'deployments.apps "x" is forbidden: User "bob" cannot delete resource "deployments" in API group "apps" '
            'in the namespace "default"',
            {"name": "x", "group": "apps", "kind": "deployments"},
        ),
        (
            "GET",
            "/api/v1/namespaces/default/pods/x/log",
            'pods "x" is forbidden: User "bob" cannot get resource "pods/log" in API group "" '
            'in the namespace "default"',
            {"name": "x", "kind": "pods"},
        ),
        (
            "GET",
            "/api/v1/secrets?watch=1",
            'secrets is forbidden: User "bob" cannot watch resource "secrets" in API group "" at the cluster scope',
            {"kind": "secrets"},
        ),
        (
            "GET",
            "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dx",
            'secrets "x" is forbidden: User "bob" cannot list resource "secrets" in API group "" '
            'in the namespace "default"',
            {"name": "x", "kind": "secrets"},
        ),
        (
            "GET",
            "/api/v1/namespaces/x",
            'namespaces "x" is forbidden: User "bob" cannot get resource "namespaces" in API group "" '
            'in the namespace "x"',
            {"name": "x", "kind": "namespaces"},
        ),
        ("GET", "/x", 'forbidden: User "bob" cannot get path "/x"', {}),
        ("POST", "/x/", 'forbidden: User "bob" cannot post path "/x/"', {}),
    ],
)
def test_inside_a_workspace(method: str, target: str, message: str, details: dict[str, Any]) -> None:
    error = forbidden(BOB, parse(method.encode(), target.encode()))
    assert (error.code, error.reason, error.message, error.details) == (403, "Forbidden", message, details)
    assert list(error.details) == list(details)


def test_no_entry() -> None:
    assert no_entry(ANONYMOUS, parse(b"GET", b"/"), "root:default").message == (
        'forbidden: User "system:anonymous" cannot get path "/": "root:default" workspace access not permitted'
    )
    error = no_entry(ANONYMOUS, parse(b"GET", b"/api/v1/namespaces"), "root:default")
    assert error.message == (
        'namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces" in API group "" '
        'at the cluster scope: "root:default" workspace access not permitted'
    )


def test_names_are_quoted_and_no_markup() -> None:
    error = forbidden(User('<b>"&'), parse(b"GET", b"/x"))
    assert error.message == 'forbidden: User "&lt;b&gt;\\"&amp;" cannot get path "/x"'
