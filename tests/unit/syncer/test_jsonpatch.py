"""JSON patches, by the examples of RFC 6902, appendix A, and what they leave open."""

from __future__ import annotations

from typing import Any

import pytest

from syncer.jsonpatch import PatchError, patched


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [
        ({"foo": "bar"}, {"op": "add", "path": "/baz", "value": "qux"}, {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "b"]}, {"op": "add", "path": "/foo/1", "value": "q"}, {"foo": ["a", "q", "b"]}),
        ({"foo": ["a"]}, {"op": "add", "path": "/foo/-", "value": ["b"]}, {"foo": ["a", ["b"]]}),
        ({"baz": 1, "foo": 2}, {"op": "remove", "path": "/baz"}, {"foo": 2}),
        ({"foo": ["a", "b", "c"]}, {"op": "remove", "path": "/foo/1"}, {"foo": ["a", "c"]}),
        ({"baz": 1}, {"op": "replace", "path": "/baz", "value": 2}, {"baz": 2}),
        ({"foo": ["a", "b"]}, {"op": "replace", "path": "/foo/0", "value": "z"}, {"foo": ["z", "b"]}),
        ({"a": {"b": 1}, "c": {}}, {"op": "move", "from": "/a/b", "path": "/c/d"}, {"a": {}, "c": {"d": 1}}),
        ({"foo": [1, 2, 3, 4]}, {"op": "move", "from": "/foo/1", "path": "/foo/3"}, {"foo": [1, 3, 4, 2]}),
        ({"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}),
        ({"a/b": {"m~n": 1}}, {"op": "replace", "path": "/a~1b/m~0n", "value": 2}, {"a/b": {"m~n": 2}}),
        ({"~1": 10}, {"op": "test", "path": "/~01", "value": 10}, {"~1": 10}),
        ({"a": 1}, {"op": "replace", "path": "", "value": [1]}, [1]),
        ({"a": 1.0}, {"op": "test", "path": "/a", "value": 1}, {"a": 1.0}),
    ],
)
def test_operations(document: Any, operation: Any, expected: Any) -> None:
    before = repr(document)
    assert patched(document, [operation]) == expected
    assert repr(document) == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/baz/bat", "value": "qux"},
        {"op": "add", "path": "/list/3", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/list/x", "value": 1},
        {"op": "add", "path": "foo", "value": 1},
        {"op": "add", "path": "/foo"},
        {"op": "remove", "path": "/list/2"},
        {"op": "remove", "path": "/list/-"},
        {"op": "replace", "path": "/nothing", "value": 1},
        {"op": "test", "path": "/one", "value": True},
        {"op": "test", "path": "/one", "value": "1"},
        {"op": "test", "path": "/list", "value": [1]},
        {"op": "move", "from": "/deep", "path": "/deep/er"},
        {"op": "unknown", "path": "/foo"},
        {"op": "add", "path": "/foo/bar/baz", "value": 1},
        {},
        3,
    ],
)
def test_refused(operation: Any) -> None:
    with pytest.raises(PatchError, match="operation 0"):
        patched({"foo": "bar", "one": 1, "list": [1, 2], "deep": {}}, [operation])


@pytest.mark.parametrize("operations", [None, {}, "x"])
def test_no_patch(operations: Any) -> None:
    with pytest.raises(PatchError):
        patched({}, operations)
