"""Which webhooks are called: rules, scopes, selectors, other versions."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from proxy.admission.cel.authorization import Question
from proxy.admission.configurations import MUTATING, VALIDATING, Configured, Webhook
from proxy.admission.evaluator import Evaluating
from proxy.admission.matching import Labels, Matcher
from proxy.admission.review import GroupVersionKind, GroupVersionResource, Review
from proxy.admission.rules import could_match, matches

THREADS = ThreadPoolExecutor(1)


def review(path: str = "apps/v1/deployments", *, namespace: str = "n", sub: str = "") -> Review:
    group, version, resource = path.split("/")
    return Review(
        "CREATE", GroupVersionKind(group, version, "Deployment"), GroupVersionResource(group, version, resource), sub,
        "x", namespace, {"username": "a"}, {"apiVersion": f"{group}/{version}", "kind": "Deployment",
        "metadata": {"labels": {"a": "new"}}}, {"metadata": {"labels": {"a": "old"}}}, False, None,
    )  # fmt: skip


def rule(
    groups: str = "apps", versions: str = "v1", resources: str = "deployments", operations: str = "CREATE", **more: Any
) -> Any:
    names = {"apiGroups": groups, "apiVersions": versions, "resources": resources, "operations": operations}
    return {key: value.split(",") for key, value in names.items()} | more


@pytest.mark.parametrize(
    ("given", "asked", "found"),
    [
        (rule(), review(), True),
        (rule("*", "*", "*", "*"), review(), True),
        (rule(groups=""), review("/v1/deployments"), True),
        (rule(groups="batch"), review(), False),
        (rule(versions="v2"), review(), False),
        (rule(operations="UPDATE,DELETE"), review(), False),
        (rule(operations="UPDATE,CREATE"), review(), True),
        (rule(resources="*"), review(sub="scale"), False),
        (rule(resources="*/scale"), review(sub="scale"), True),
        (rule(resources="*/*"), review(sub="scale"), True),
        (rule(resources="deployments/*"), review(), True),
        (rule(resources="deployments/scale"), review(), False),
        (rule(scope="Cluster"), review(), False),
        (rule(scope="Namespaced"), review(), True),
        (rule(scope="Cluster"), review(namespace=""), True),
        (rule(scope="Namespaced"), review(namespace=""), False),
        (rule("*", "*", "*", "*", scope="Cluster"), review("/v1/namespaces"), True),
        (rule("*", "*", "*", "*", scope="Namespaced"), review("/v1/namespaces"), False),
    ],
)
def test_rules(given: Any, asked: Review, found: bool) -> None:
    assert matches(given, asked) is found
    if found:
        assert could_match(given, asked.resource.resource)


async def called(asked: Review, **said: Any) -> Any:
    async def labels() -> Labels:
        return {"team": "blue"}

    def equivalents(resource: GroupVersionResource) -> list[GroupVersionResource]:
        return [resource._replace(version=version) for version in ("v1", "v2")]

    async def allowed(_: Question) -> bool:
        return True

    hook = Webhook("c/w/0", "w", {"rules": [rule()], **said})
    evaluating = Evaluating(asyncio.Lock(), THREADS, allowed)
    return await Matcher(asked, labels, equivalents, evaluating).invocation(hook)


def chosen(**labels: str) -> Any:
    return {"matchLabels": labels}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, True),
        ({"objectSelector": {}}, True),
        ({"objectSelector": chosen(a="new")}, True),
        ({"objectSelector": chosen(a="old")}, True),
        ({"objectSelector": chosen(a="none")}, False),
        ({"namespaceSelector": chosen(team="blue")}, True),
        ({"namespaceSelector": chosen(team="red")}, False),
        ({"rules": []}, False),
        ({"rules": [rule(versions="v2")]}, False),
        ({"rules": [rule(versions="v2")], "matchPolicy": "Exact"}, False),
    ],
)
async def test_who_is_called(said: Any, found: bool) -> None:
    assert (await called(review(), **said) is not None) is found


async def test_no_namespace_selector_takes_notice_of_what_is_in_none() -> None:
    assert await called(review(namespace=""), namespaceSelector=chosen(team="red")) is not None


async def test_the_labels_of_a_namespace_that_is_written_are_its_own() -> None:
    asked = review("/v1/namespaces", namespace="x")
    everything = {"rules": [rule("*", "*", "*", "*")]}
    assert await called(asked, namespaceSelector=chosen(a="new"), **everything) is not None
    assert await called(asked, namespaceSelector=chosen(team="blue"), **everything) is None


async def test_equivalent_versions() -> None:
    found = await called(review(), rules=[rule(versions="v2")], matchPolicy="Equivalent")
    assert found.kind == GroupVersionKind("apps", "v2", "Deployment")
    assert found.resource == GroupVersionResource("apps", "v2", "deployments")
    assert found.request(review())["requestResource"]["version"] == "v1"
    assert found.seen(review().object)["apiVersion"] == "apps/v2"
    assert found.seen(None) is None


def test_what_a_workspace_has_is_in_the_order_of_names() -> None:
    configured = Configured()
    assert configured.empty()
    first, second = Webhook("a/w/0", "w", {"rules": [rule(resources="pods/exec")]}), Webhook("b/w/0", "w", {})
    configured.put(VALIDATING, "b", (second,))
    configured.put(VALIDATING, "a", (first,))
    assert configured.webhooks(VALIDATING) == (first, second)
    assert configured.webhooks(MUTATING) == ()
    assert configured.concerns("pods")
    assert not configured.concerns("secrets")
    configured.put(VALIDATING, "a", None)
    assert configured.webhooks(VALIDATING) == (second,)
    assert not configured.concerns("pods")
    configured.put(VALIDATING, "b", None)
    assert configured.empty()
