"""What watches ask for and what their lines say."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mapping.watching import Lines, ends_state, read, terms_of

PATH = b"/api/v1/namespaces/k3fq7zn2a-a/configmaps?watch=true"


def event(kind: str, version: str, **fields: object) -> bytes:
    metadata = {"name": "a", "resourceVersion": version} | fields
    return orjson.dumps({"type": kind, "object": {"kind": "ConfigMap", "metadata": metadata}}) + b"\n"


class TestTerms:
    def test_from_a_version_on(self) -> None:
        terms = terms_of(PATH + b"&resourceVersion=7&timeoutSeconds=300&allowWatchBookmarks=true&pretty=false")
        assert terms is not None
        assert terms.subject == PATH + b"&pretty=false"
        assert (terms.version, terms.bookmarks, terms.timeout, terms.state) == (7, True, 300, b"")
        assert terms.after(9) == PATH + b"&pretty=false&resourceVersion=9&allowWatchBookmarks=true"

    def test_what_is_about_the_same_has_the_same_subject(self) -> None:
        one = terms_of(PATH + b"&labelSelector=a%3Db%2Cc&resourceVersion=7")
        other = terms_of(PATH + b"&resourceVersion=0&labelSelector=a%3Db%2Cc&allowWatchBookmarks=1")
        another = terms_of(PATH + b"&labelSelector=a%3Db&resourceVersion=7")
        subjects = [terms and terms.subject for terms in (one, other, another)]
        assert subjects[0] == subjects[1] != subjects[2]

    @pytest.mark.parametrize(
        ("version", "of"), [(b"", b""), (b"&resourceVersion=", b""), (b"&resourceVersion=0", b"0")]
    )
    def test_the_state_first(self, version: bytes, of: bytes) -> None:
        terms = terms_of(PATH + version)
        assert terms is not None
        assert (terms.version, terms.asked, terms.bookmarks, terms.timeout) == (None, False, False, 0)
        assert terms.state == PATH + b"&resourceVersion=" + of + (
            b"&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=true"
        )

    @pytest.mark.parametrize("version", [b"", b"0", b"12"])
    def test_initial_events_are_as_new_as_they_were_asked_for(self, version: bytes) -> None:
        query = b"&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        terms = terms_of(PATH + b"&resourceVersion=" + version + query)
        assert terms is not None
        assert (terms.version, terms.asked) == (None, True)
        assert b"resourceVersion=" + version + b"&" in terms.state

    @pytest.mark.parametrize(
        "query",
        [
            "resourceVersion=x", "resourceVersion=-1", "resourceVersion=00", "resourceVersion=%C2%B2",
            "timeoutSeconds=x", "timeoutSeconds=-1", "allowWatchBookmarks=yes", "sendInitialEvents=true",
            "sendInitialEvents=false",
            "sendInitialEvents=true&allowWatchBookmarks=true", "resourceVersionMatch=NotOlderThan", "limit=5",
            "continue=x", "unknown=1", "resourceVersion=1&resourceVersion=2",
            "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=Exact",
            "resourceVersion=5&timeoutSeconds=30&allowWatchBookmarks=true",
        ],
    )  # fmt: skip
    def test_what_the_shard_alone_can_answer(self, query: str) -> None:
        assert terms_of(PATH + b"&" + query.encode()) is None


class TestLine:
    @pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"])
    def test_version(self, kind: str) -> None:
        line = read(event(kind, "123"))
        assert (line.version, line.bookmark, line.error) == (123, kind == "BOOKMARK", False)

    def test_what_looks_like_a_version_is_none(self) -> None:
        decoy = {"resourceVersion": "9", "annotations": {"resourceVersion": "8"}}
        body = {
            "apiVersion": "example.com/v1", "aaa": {"metadata": decoy, "resourceVersion": "7"}, "kind": "Widget",
            "metadata": {
                "annotations": {"resourceVersion": "6", "a": '"metadata":{"resourceVersion":"5"'},
                "labels": {"resourceVersion": "4"}, "managedFields": [{"metadata": decoy}], "resourceVersion": "123",
            },
            "resourceVersion": "3", "spec": {"metadata": decoy},
        }  # fmt: skip
        assert read(orjson.dumps({"type": "ADDED", "object": body}) + b"\n").version == 123

    def test_error(self) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410}
        assert read(orjson.dumps({"type": "ERROR", "object": status}) + b"\n").error

    @pytest.mark.parametrize(
        "text",
        [
            b"", b"\n", b"{}\n", event("ADDED", "x"), event("ADDED", ""), event("SUNG", "1"), event("ADDED", "1")[:-1],
            event("ADDED", "1").replace(b":", b"=", 1),
            b'{"type":"ADDED","object":{"metadata":{"resourceVersion":1}}}\n',
            b'{"type":"ADDED","object":{"metadata":{}}}\n', b'{"type":"ADDED","object":[]}\n',
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(self, text: bytes) -> None:
        with pytest.raises(ValueError, match=r".+"):
            read(text)

    def test_end_of_the_state(self) -> None:
        ends = {"k8s.io/initial-events-end": "true"}
        assert ends_state(event("BOOKMARK", "1", annotations=ends))
        assert not ends_state(event("BOOKMARK", "1"))
        assert not ends_state(event("BOOKMARK", "1", annotations={"other": "true"}))
        assert not ends_state(event("ADDED", "1", annotations=ends))  # anybody may write such an annotation


@given(st.lists(st.binary(max_size=5).map(lambda data: data.replace(b"\n", b"") + b"\n")), st.data())
def test_lines_whatever_the_pieces(lines: list[bytes], data: st.DataObject) -> None:
    text, found, reader = b"".join(lines), [], Lines()
    while text:
        size = data.draw(st.integers(1, len(text)))
        found += reader.feed(text[:size])
        text = text[size:]
    assert found == lines
