"""Names: there and back, and what may not be mixed up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping import names
from proxy.mapping.token import ALPHABET, LENGTH, is_token, new_token, token_of

PREFIX = "k3fq7zn2a-"
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
groups = st.lists(labels, min_size=1, max_size=4).map(".".join)


def test_tokens_are_legal_at_the_front_of_every_kind_of_name() -> None:
    tokens = {new_token() for _ in range(200)}
    assert len(tokens) == 200
    for token in tokens:
        assert len(token) == LENGTH
        assert token[0] == "k"
        assert set(token[1:]) <= set(ALPHABET)
        assert is_token(token)
        assert token_of(f"{token}-default") == token


@pytest.mark.parametrize(
    "name",
    ["default", "k3fq7zn2a", "k3fq7zn2adefault", "K3fq7zn2a-x", "k3fq7zn2-ab", "k3fq7zn21-x", "xk3fq7zn2a-x", ""],
)
def test_other_names_belong_to_no_workspace(name: str) -> None:
    assert token_of(name) is None


@given(labels)
def test_names_come_back(name: str) -> None:
    for mapped in (
        names.map_namespace(name, PREFIX),
        names.map_cluster_name(name, PREFIX),
        names.map_user(name, PREFIX),
        names.map_user(f"system:serviceaccount:{name}:x", PREFIX),
        names.map_group(f"system:{name}", PREFIX),
    ):
        assert token_of(mapped.removeprefix("system:serviceaccount:")) == "k3fq7zn2a"
        assert names.unmap(mapped, PREFIX) in (name, f"system:serviceaccount:{name}:x", f"system:{name}")


@given(groups)
def test_groups_come_back_and_native_ones_stay(group: str) -> None:
    mapped = names.map_api_group(group, PREFIX)
    assert names.unmap(mapped, PREFIX) == group
    assert (mapped == group) == (group in names.NATIVE_GROUPS)
    assert names.unmap(names.map_api_version(f"{group}/v1", PREFIX), PREFIX) == f"{group}/v1"


def test_core_versions_stay() -> None:
    assert names.map_api_version("v1", PREFIX) == "v1"
    assert names.map_api_version("apps/v1", PREFIX) == "apps/v1"
    assert names.map_api_version("example.com/v1beta1", PREFIX) == "k3fq7zn2a-example.com/v1beta1"


@pytest.mark.parametrize(
    ("user", "mapped"),
    [
        ("alice", "k3fq7zn2a-alice"),
        ("system:masters", "k3fq7zn2a-system:masters"),
        ("system:anonymous", "k3fq7zn2a-system:anonymous"),
        ("system:node:x", "k3fq7zn2a-system:node:x"),
        ("system:serviceaccount:ns:x", "system:serviceaccount:k3fq7zn2a-ns:x"),
        ("system:serviceaccounts:ns", "k3fq7zn2a-system:serviceaccounts:ns"),
        ("system:serviceaccount:kotheroth-ns:x", "system:serviceaccount:k3fq7zn2a-kotheroth-ns:x"),
    ],
)
def test_no_user_is_the_shards_own(user: str, mapped: str) -> None:
    assert names.map_user(user, PREFIX) == mapped


def test_crd_names() -> None:
    assert names.map_crd_name("widgets.example.com", PREFIX) == "widgets.k3fq7zn2a-example.com"
    assert names.map_crd_name("widgets", PREFIX) == "k3fq7zn2a-widgets"


def test_names_that_would_not_fit_are_refused_with_the_limit() -> None:
    assert len(names.map_namespace("n" * 53, PREFIX)) == 63
    with pytest.raises(StatusError) as caught:
        names.map_namespace("n" * 54, PREFIX)
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert "53" in caught.value.message
    assert len(names.map_cluster_name("n" * 243, PREFIX)) == 253
    with pytest.raises(StatusError) as caught:
        names.map_cluster_name("n" * 244, PREFIX, "clusterroles", "rbac.authorization.k8s.io")
    assert "243" in caught.value.message
    assert caught.value.details["kind"] == "clusterroles"
