"""JSON patches: what is made of a difference makes it, and what cannot be done is said in json-patch's words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.admission.jsonpatch import PatchError, apply, difference

KEYS = st.sampled_from(["a", "b", "a/b", "~", "", "0", "0.kcp.dev/w"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
@example({"a": True, "b": [1]}, {"a": 1, "b": [True]})
def test_a_difference_is_what_makes_the_other(before: Any, after: Any) -> None:
    patch = difference(before, after)
    assert orjson.dumps(apply(patch, before), option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        after, option=orjson.OPT_SORT_KEYS
    )


@given(VALUES)
def test_nothing_is_what_makes_the_same(value: Any) -> None:
    assert difference(value, value) == []


MISSING = "operation does not apply: doc is missing"
DOC = {"a": {"b": [1, 2]}, "c": None}


@pytest.mark.parametrize(
    ("patch", "made"),
    [
        ([{"op": "add", "path": "/a/b/-", "value": 3}], {"a": {"b": [1, 2, 3]}, "c": None}),
        ([{"op": "add", "path": "/a/b/0", "value": 0}], {"a": {"b": [0, 1, 2]}, "c": None}),
        ([{"op": "remove", "path": "/a/b/-1"}], {"a": {"b": [1]}, "c": None}),
        ([{"op": "replace", "path": "/c", "value": 1}], {"a": {"b": [1, 2]}, "c": 1}),
        ([{"op": "replace", "path": "", "value": {}}], {}),
        ([{"op": "copy", "from": "/a/b", "path": "/d"}], {"a": {"b": [1, 2]}, "c": None, "d": [1, 2]}),
        ([{"op": "move", "from": "/a", "path": "/c"}], {"c": {"b": [1, 2]}}),
        ([{"op": "test", "path": "/a/b/1", "value": 2}, {"op": "remove", "path": "/c"}], {"a": {"b": [1, 2]}}),
        ([{"op": "test", "path": "/none", "value": None}], DOC),
    ],
)
def test_operations(patch: list[dict[str, Any]], made: Any) -> None:
    assert apply(patch, DOC) == made
    assert DOC == {"a": {"b": [1, 2]}, "c": None}


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ({"op": "add", "path": "/x/y"}, f'add {MISSING} path: "/x/y": missing value'),
        (
            {"op": "remove", "path": "/x"},
            "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value",
        ),
        ({"op": "add", "path": "", "value": {}}, f'add {MISSING} path: "": missing value'),
        ({"op": "replace", "path": "/x"}, f"replace {MISSING} key: /x: missing value"),
        ({"op": "replace", "path": "/x/y"}, f"replace {MISSING} path: /x/y: missing value"),
        (
            {"op": "add", "path": "/a/b/9"},
            "error in add for path: '/a/b/9': Unable to access invalid index: 9: invalid index referenced",
        ),
        ({"op": "test", "path": "/c", "value": 1}, "testing value /c failed: test failed"),
        ({"op": "jump", "path": "/c"}, "Unexpected kind: jump"),
        ({"op": "add"}, "operation missing path field: missing value"),
        ({"op": "move", "path": "/c"}, "operation, missing from field: missing value"),
        ({"op": "move", "from": "/x/y", "path": "/c"}, f"move {MISSING} from path: /x/y: missing value"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(operation: dict[str, Any], words: str) -> None:
    with pytest.raises(PatchError) as caught:
        apply([operation], DOC)
    assert str(caught.value) == words


def test_copies_of_copies_have_an_end() -> None:
    """Each doubles the object."""
    patch = [{"op": "copy", "from": "/a", "path": f"/a/{number}"} for number in range(60)]
    with pytest.raises(PatchError, match="the accumulated size increase of copy is"):
        apply(patch, {"a": {"b": "x" * 1000}})
