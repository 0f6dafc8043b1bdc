"""Strategic merge patches of admission configurations; tests/integration/admission asks a kube-apiserver the same."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.kube.errors import StatusError
from proxy.mapping.strategic import merged


def hooks(*names: str, **more: Any) -> dict[str, Any]:
    return {"webhooks": [{"name": name, **more} for name in names]}


@pytest.mark.parametrize(
    ("current", "patch", "made"),
    [
        (hooks("a", "b"), {"webhooks": [{"name": "b", "x": 1}]}, {"webhooks": [{"name": "a"}, {"name": "b", "x": 1}]}),
        (hooks("a"), hooks("b"), hooks("b", "a")),
        (hooks("a", "b"), {"webhooks": [{"name": "a", "$patch": "delete"}]}, hooks("b")),
        (hooks("a", "b"), {"webhooks": [{"$patch": "replace"}, {"name": "c"}]}, hooks("c")),
        (hooks("a", "b"), {"$setElementOrder/webhooks": [{"name": "b"}, {"name": "a"}]}, hooks("b", "a")),
        (
            hooks("a", "b"),
            {"$setElementOrder/webhooks": [{"name": "a"}, {"name": "c"}, {"name": "b"}], **hooks("c")},
            hooks("a", "c", "b"),
        ),
        (hooks("a", rules=[1]), hooks("a", rules=[2]), hooks("a", rules=[2])),
        (hooks("a", s={"x": 1}), hooks("a", s={"y": 2}), hooks("a", s={"x": 1, "y": 2})),
        (hooks("a", s={"x": 1}), hooks("a", s={"$patch": "replace", "y": 2}), hooks("a", s={"y": 2})),
        (hooks("a", s={"x": 1}), hooks("a", s=None), hooks("a")),
        ({"s": {"x": 1, "z": 3}}, {"s": {"$retainKeys": ["y", "z"], "y": 2}}, {"s": {"z": 3, "y": 2}}),
        ({"finalizers": ["a"]}, {"finalizers": ["b", "a"]}, {"finalizers": ["a", "b"]}),
        ({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"]}),
    ],
)
def test_merged(current: dict[str, Any], patch: dict[str, Any], made: dict[str, Any]) -> None:
    assert merged(current, patch) == made


@pytest.mark.parametrize("patch", [{"webhooks": [{"x": 1}]}, {"webhooks": ["a"]}, {"s": {"$patch": "multiply"}}])
def test_nonsense(patch: dict[str, Any]) -> None:
    with pytest.raises(StatusError) as caught:
        merged(hooks("a"), patch)
    assert caught.value.code == 400
