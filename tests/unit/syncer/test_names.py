"""Names on the physical cluster."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.names import LOCATOR, is_taken, locator, name_above, name_below, namespace_of, physical_namespace


@pytest.mark.parametrize(
    ("workspace", "physical"),
    [
        ("root:telcops:team-a", "kcp3afd937aa61b43734af460119cd405930ccbdeade88b713fc804a0d6"),
        ("root:telcops:team-b", "kcpeed022296263aa537060763c3934139fb84185e2a39a8dcf8695c89e"),
    ],
)
def test_physical_namespaces_as_kcp_printed_them(workspace: str, physical: str) -> None:
    assert physical_namespace(workspace, "reverse-words") == physical


def test_locator() -> None:
    assert locator("root:a", "b") == '{"logical-cluster":"root:a","namespace":"b"}'


@given(st.text(), st.text())
def test_a_namespace_below_tells_what_it_stands_for(workspace: str, namespace: str) -> None:
    annotations = {LOCATOR: locator(workspace, namespace)}
    assert namespace_of(annotations, workspace) == namespace
    assert namespace_of(annotations, f"{workspace}x") is None


@given(st.text(), st.text())
def test_every_name_is_legal(workspace: str, namespace: str) -> None:
    name = physical_namespace(workspace, namespace)
    assert len(name) == 59
    assert name.isalnum()


@pytest.mark.parametrize("value", ["", "{", "[]", '"x"', "null", '{"namespace":"b"}', '{"logical-cluster":"root:a"}'])
def test_annotations_of_others(value: str) -> None:
    assert namespace_of({LOCATOR: value}, "root:a") is None
    assert namespace_of({}, "root:a") is None


@pytest.mark.parametrize(
    ("plural", "above", "below"),
    [
        ("configmaps", "kube-root-ca.crt", "kcp-root-ca.crt"),
        ("serviceaccounts", "default", "kcp-default"),
        ("serviceaccounts", "kube-root-ca.crt", "kube-root-ca.crt"),
        ("configmaps", "default", "default"),
    ],
)
def test_renamed_and_back(plural: str, above: str, below: str) -> None:
    assert name_below(plural, above) == below
    assert name_above(plural, below) == above


@pytest.mark.parametrize(
    ("plural", "name", "taken"),
    [
        ("configmaps", "kcp-root-ca.crt", True),
        ("serviceaccounts", "kcp-default", True),
        ("secrets", "kcp-default-token", True),
        ("configmaps", "kcp-default", False),
        ("configmaps", "kube-root-ca.crt", False),
    ],
)
def test_names_with_a_meaning_below(plural: str, name: str, taken: bool) -> None:
    assert is_taken(plural, name) is taken
