"""Responses: what is removed at every chunk border is what would be removed from the whole."""

from __future__ import annotations

import re

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.mapping.stream import ResponseFilter, patterns, strip_bytes

TOKEN = "k3fq7zn2a"
LABEL = f'"0.kcp.dev/w":"{TOKEN}"'

pieces = st.sampled_from(
    [
        f"{TOKEN}-", TOKEN, "k3fq", "-", '"', ",", "{", "}", "}\n", f"{{{LABEL}}}",
         f',"labels":{{{LABEL}}}', f'{LABEL},', f',{LABEL}', f'"a":"b",{LABEL}', f'"a":"b",{LABEL},"c":"d"',
         f'"matchLabels":{{{LABEL}}},', ',"f:0.kcp.dev/w":{}', ',"f:0.kcp', '".":{},"f:0.kcp.dev/w":{},"f:app":{}',
          ',"labels":{', '"0.kcp.dev/w":"', "x", "default",
        '"namespace":"', f'"{TOKEN}-default"', "kotheroth-",
    ]
)  # fmt: skip


def run(data: bytes, cuts: list[int]) -> bytes:
    stream = ResponseFilter(patterns(TOKEN))
    out = []
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        out.append(stream.feed(data[at:cut]))
        at = cut
    return b"".join(out) + stream.flush()


def one_after_the_other(body: bytes) -> bytes:
    """Slow, as the shapes are listed."""
    for pattern in patterns(TOKEN):
        body = body.replace(pattern, b"")
    return body


def is_sent(text: str) -> bool:
    """Whether a shard may: no label twice in one object, or behind one, no text that matches once another is gone."""
    whole = one_after_the_other(text.encode())
    once = re.sub(b"|".join(re.escape(pattern) for pattern in patterns(TOKEN)), b"", text.encode())
    odd = any(shape in text for shape in (f"{LABEL},{LABEL}", f"}},{LABEL}", f'{LABEL},"labels"', f'{LABEL},"f:'))
    return not odd and once == whole and not any(pattern in whole for pattern in patterns(TOKEN))


@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=12).map("".join), st.data())
def test_any_cuts_give_what_the_whole_gives(text: str, data: st.DataObject) -> None:
    body = text.encode()
    whole = strip_bytes(body, TOKEN)
    if not is_sent(text):
        return
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    assert run(body, cuts) == whole


@settings(max_examples=1000, deadline=None)
@given(st.lists(pieces, max_size=12).map("".join))
def test_one_pass_for_all_labels_gives_what_one_for_each_shape_gives(text: str) -> None:
    if is_sent(text):
        assert strip_bytes(text.encode(), TOKEN) == one_after_the_other(text.encode())


def test_every_single_cut_of_a_real_object() -> None:
    shown = {
        "kind": "ConfigMap",
        "metadata": {
            "name": "cm",
            "namespace": "default",
            "uid": "u",
            "creationTimestamp": "t",
            "labels": {"app": "x"},
        },
    }
    for labels, plain in (
        ({"0.kcp.dev/w": TOKEN}, None),
        ({"0.kcp.dev/w": TOKEN, "app": "x"}, {"app": "x"}),
        ({"0-x": "y", "0.kcp.dev/w": TOKEN}, {"0-x": "y"}),
        ({"0-x": "y", "0.kcp.dev/w": TOKEN, "app": "x"}, {"0-x": "y", "app": "x"}),
    ):
        meta = {"name": "cm", "namespace": f"{TOKEN}-default", "uid": "u", "creationTimestamp": "t", "labels": labels}
        body = orjson.dumps({"kind": "ConfigMap", "metadata": meta})
        wanted = {**shown["metadata"], "labels": plain}  # type: ignore[dict-item]
        if plain is None:
            del wanted["labels"]
        for cut in range(len(body) + 1):
            assert orjson.loads(run(body, [cut])) == {"kind": "ConfigMap", "metadata": wanted}
        for cut in range(len(body) - 1):
            assert orjson.loads(run(body, [cut, cut + 1]))["metadata"] == wanted


def test_an_event_leaves_at_once() -> None:
    stream = ResponseFilter(patterns(TOKEN))
    event = b'{"type":"ADDED","object":{"metadata":{"name":"x","namespace":"%s-d"}}}\n' % TOKEN.encode()
    assert stream.feed(event) == event.replace(f"{TOKEN}-".encode(), b"")


def test_other_tokens_stay_visible_to_the_tests_that_look_for_them() -> None:
    assert strip_bytes(b"kaaaaaaaa-x", TOKEN) == b"kaaaaaaaa-x"


def test_a_message_that_quotes_an_object() -> None:
    for labels, plain in (
        ({"0.kcp.dev/w": TOKEN}, '{"metadata":{"name":"x"}}'),
        ({"0.kcp.dev/w": TOKEN, "a": "b"}, '{"metadata":{"name":"x","labels":{"a":"b"}}}'),
        ({"0-x": "y", "0.kcp.dev/w": TOKEN}, '{"metadata":{"name":"x","labels":{"0-x":"y"}}}'),
    ):
        quoted = orjson.dumps({"metadata": {"name": f"{TOKEN}-x", "labels": labels}}).decode()
        body = orjson.dumps({"kind": "Status", "message": f"invalid: {quoted}"})
        for cut in range(20, len(body)):
            assert orjson.loads(run(body, [cut])) == {"kind": "Status", "message": f"invalid: {plain}"}
