"""What a namespace says while it ends, in the words of Kubernetes' namespace controller."""

from __future__ import annotations

from proxy.kube.client import Resource
from proxy.tenancy.kinds import Kind
from proxy.tenancy.terminating import FINE, Left, conditions

EARLIER, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
MAPS = Kind(Resource("", "v1", "configmaps"), False)
PLACES = Kind(Resource("k2345abcd-example.com", "v1", "places"), False, converted=True)


def told(found: list[dict[str, str]]) -> dict[str, tuple[str, str, str]]:
    return {item["type"]: (item["status"], item["reason"], item["message"]) for item in found}


def test_nothing_left() -> None:
    found = conditions([], [], now=EARLIER)
    assert [item["type"] for item in found] == list(FINE)
    assert {item["status"] for item in found} == {"False"}
    assert told(found)["NamespaceContentRemaining"] == ("False", "ContentRemoved", "All content successfully removed")


def test_what_remains_is_counted() -> None:
    left = [Left(PLACES, 2, {"b/x": 1, "a/x": 2}), Left(MAPS, 1, {"a/x": 1})]
    found = told(conditions([], left, now=EARLIER))
    remaining = (
        "Some resources are remaining: configmaps. has 1 resource instances, "
        "places.k2345abcd-example.com has 2 resource instances"
    )
    assert found["NamespaceContentRemaining"] == ("True", "SomeResourcesRemain", remaining)
    finalizers = (
        "Some content in the namespace has finalizers remaining: a/x in 3 resource instances, b/x in 1 resource "
        "instances"
    )
    assert found["NamespaceFinalizersRemaining"] == ("True", "SomeFinalizersRemain", finalizers)
    assert found["NamespaceDeletionContentFailure"][0] == "False"


def test_what_cannot_be_read_is_said_without_the_way_to_the_proxy() -> None:
    secret = "s" * 43
    why = f"Post https://kcp:6443/admission/convert/k2345abcd/places.example.com/{secret}/https://hook/x: refused"
    found = told(conditions([], [Left(PLACES, 0, {}, why)], undiscovered="no types", now=EARLIER))
    status, reason, message = found["NamespaceDeletionContentFailure"]
    assert (status, reason) == ("True", "ContentDeletionFailed")
    assert message == "Failed to delete all resource types, 1 remaining: Post https://hook/x: refused"
    assert found["NamespaceDeletionDiscoveryFailure"] == ("True", "DiscoveryFailed", "no types")
    assert found["NamespaceContentRemaining"][0] == "False"


def test_times_change_with_states_alone_and_others_conditions_stay() -> None:
    other = {"type": "Placed", "status": "True", "lastTransitionTime": EARLIER, "reason": "x", "message": "y"}
    before = conditions([other], [Left(MAPS, 2, {"a/x": 1})], now=EARLIER)
    after = conditions(before, [Left(MAPS, 1, {})], now=LATER)
    times = {item["type"]: item["lastTransitionTime"] for item in after}
    assert after[0] == other
    assert times["NamespaceContentRemaining"] == EARLIER
    assert times["NamespaceFinalizersRemaining"] == LATER
    assert conditions(after, [Left(MAPS, 1, {})], now="never") == after
