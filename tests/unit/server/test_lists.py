"""Lists over all namespaces, and answers that are known here, as they leave."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from proxy.kube.errors import StatusError
from proxy.mapping.listing import Listing, make_token
from proxy.server.apart import AT_ONCE
from proxy.server.instead import produce_instead
from proxy.server.listing import produce_deleted, produce_list
from proxy.server.messages import Forward, Header, Response
from proxy.server.pages import Known
from proxy.server.surroundings import A_NAMESPACE, SELECTED
from tests.pieces import Opening

TOKEN = "k3fq7zn2a"
NOT_FOUND = b'{"kind":"Status","message":"\\"k3fq7zn2a-x\\" not found","code":404}\n'


class Told(Opening):
    """An exchange: what the shard answers, and what the client gets."""

    def __init__(self, *answers: Response) -> None:
        self._answers = list(answers)
        self.status = 0
        self.headers: list[Header] = []
        self.body = b""
        self.ended = False

    async def fetch(self, forward: Forward) -> Response:
        return self._answers.pop(0)

    async def start(self, status: int, headers: list[Header]) -> None:
        self.status, self.headers = status, headers

    async def write(self, data: bytes) -> None:
        self.body += data

    async def end(self) -> None:
        self.ended = True


def forward(target: bytes) -> Forward:
    return Forward("main", b"GET", target, [])


def page(kind: str, version: str, *names: str, api_version: str = "v1") -> Response:
    items = [{"metadata": {"name": name, "namespace": f"{TOKEN}-a"}} for name in names]
    body = {"kind": kind, "apiVersion": api_version, "metadata": {"resourceVersion": version}, "items": items}
    return Response(200, [(b"warning", b'299 - "k3fq7zn2a-example.com/v1 is old"')], orjson.dumps(body))


async def listed(answer: Response, *, custom: bool = False, not_older_than: int = 0) -> Told:
    told = Told(answer)
    listing = Listing("/api/v1/x", (), 0, "start", TOKEN, not_older_than=not_older_than, custom=custom)
    await produce_list(listing, "main", forward, Known()).run(told)
    return told


async def test_a_list() -> None:
    told = await listed(page("ConfigMapList", "7", "x"))
    assert orjson.loads(told.body)["metadata"] == {"resourceVersion": "7"}
    assert orjson.loads(told.body)["items"] == [{"metadata": {"name": "x", "namespace": "a"}}]
    assert (b"warning", b'299 - "example.com/v1 is old"') in told.headers


async def test_a_list_of_custom_resources_always_says_where_it_goes_on() -> None:
    told = await listed(page("WidgetList", "7"), custom=True)
    assert orjson.loads(told.body)["metadata"] == {"resourceVersion": "7", "continue": ""}
    assert orjson.loads(told.body)["items"] == []


async def test_an_empty_list_of_metadata_alone() -> None:
    told = await listed(page("PartialObjectMetadataList", "7", api_version="meta.k8s.io/v1"), custom=True)
    assert orjson.loads(told.body)["items"] is None
    assert orjson.loads(told.body)["metadata"] == {"resourceVersion": "7"}
    assert told.ended


async def test_the_shards_refusal_passes_with_its_warnings() -> None:
    told = await listed(Response(404, [(b"warning", b"old"), (b"audit-id", b"a")], NOT_FOUND))
    assert (told.status, told.body) == (404, NOT_FOUND.replace(b"k3fq7zn2a-", b""))
    assert (b"warning", b"old") in told.headers


async def test_a_version_that_there_has_not_been_yet() -> None:
    with pytest.raises(StatusError) as caught:
        await listed(page("ConfigMapList", "7"), not_older_than=8)
    assert (caught.value.code, caught.value.message) == (504, "Timeout: Too large resource version: 8, current: 7")
    assert (await listed(page("ConfigMapList", "7"), not_older_than=7)).status == 200


@pytest.mark.parametrize(("status", "body"), [(201, b"known"), (400, NOT_FOUND.replace(b"k3fq7zn2a-", b""))])
async def test_what_is_known_here_is_said_where_the_shard_agrees(status: int, body: bytes) -> None:
    told = Told(Response(status, [(b"warning", b"unknown field"), (b"date", b"now")], NOT_FOUND))
    await produce_instead(forward(b"/x"), TOKEN, b"known").run(told)
    assert (told.status, told.body, told.headers, told.ended) == (status, body, [(b"warning", b"unknown field")], True)


async def test_what_is_known_here_is_not_said_in_another_form() -> None:
    other = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{}}'
    told = Told(Response(201, [], other))
    await produce_instead(forward(b"/x"), TOKEN, b"known").run(told)
    assert told.body == other


def in_namespaces() -> tuple[Listing, Known]:
    """A list that is read by namespace."""
    listing = Listing("/api/v1/x", (), 0, make_token(f"{TOKEN}-"), TOKEN, in_namespaces=True)
    known = Known()
    known.surroundings.passed(listing, "main", 10 * A_NAMESPACE)
    return listing, known


def namespaces(*names: str) -> Response:
    items = [{"metadata": {"name": f"{TOKEN}-{name}"}} for name in names]
    body = {"kind": "NamespaceList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items}
    return Response(200, [], orjson.dumps(body))


async def test_what_is_refused_by_namespace_is_asked_for_in_one() -> None:
    listing, known = in_namespaces()
    asked: list[bytes] = []

    def noted(target: bytes) -> Forward:
        asked.append(target.partition(b"?")[0].removeprefix(b"/api/v1"))
        return forward(target)

    told = Told(namespaces("a", "b"), Response(404, [], b"x"), Response(404, [], b"x"), page("ConfigMapList", "8", "c"))
    await produce_list(listing, "main", noted, known).run(told)
    assert [item["metadata"]["name"] for item in orjson.loads(told.body)["items"]] == ["c"]
    of = f"/namespaces/{TOKEN}-".encode()
    assert asked == [b"/namespaces", of + b"a/x", of + b"b/x", b"/x"]
    told = Told(Response(403, [], b"x"), page("ConfigMapList", "8", "c"))
    await produce_list(listing, "main", noted, known).run(told)
    assert told.status == 200, "nor need there be a list of namespaces"


class Slow(Told):
    """What is fetched after the first two never comes."""

    def __init__(self, *answers: Response) -> None:
        super().__init__(*answers)
        self.waiting = 0

    async def fetch(self, forward: Forward) -> Response:
        if self._answers:
            return await super().fetch(forward)
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        raise AssertionError


async def test_a_few_namespaces_are_under_way_and_none_when_the_client_is_gone() -> None:
    listing, known = in_namespaces()
    told = Slow(namespaces(*"abcdefg"), page("ConfigMapList", "7", "c"))
    running = asyncio.ensure_future(produce_list(listing, "main", forward, known).run(told))
    await asyncio.sleep(0.01)
    assert told.waiting == AT_ONCE
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.sleep(0)
    assert told.waiting == 0


@pytest.mark.parametrize("custom", [False, True])
async def test_namespaces_are_passed_on_one_behind_the_other(custom: bool) -> None:
    """Lists of custom resources end with their metadata."""
    listing, known = in_namespaces()
    answers = [page("MapList", "7", *names) for names in ((), ("a", "b"), (), ("c",), ())]
    if custom:
        for answer in answers:
            value = orjson.loads(answer.body)
            value["metadata"]["continue"] = ""
            answer.body = orjson.dumps(value, option=orjson.OPT_SORT_KEYS) + b"\n"
    told = Told(namespaces(*"abcde"), *answers)
    await produce_list(replace(listing, custom=custom), "main", forward, known).run(told)
    value = orjson.loads(told.body)
    assert (value["kind"], value["apiVersion"]) == ("MapList", "v1")
    assert value["metadata"] == {"resourceVersion": "7"} | ({"continue": ""} if custom else {})
    assert [item["metadata"] for item in value["items"]] == [{"name": name, "namespace": "a"} for name in "abc"]
    assert told.ended
    assert (b"warning", b'299 - "example.com/v1 is old"') in told.headers


async def test_nothing_in_any_namespace() -> None:
    listing, known = in_namespaces()
    never_begun = page("PartialObjectMetadataList", "7", api_version="meta.k8s.io/v1")
    never_begun.body = never_begun.body.replace(b"[]", b"null")
    told = Told(namespaces("a", "b"), never_begun, never_begun)
    await produce_list(listing, "main", forward, known).run(told)
    assert orjson.loads(told.body)["items"] is None
    told = Told(namespaces("a", "b", "c"), never_begun, page("PartialObjectMetadataList", "7", "x"), never_begun)
    await produce_list(listing, "main", forward, known).run(told)
    assert [item["metadata"]["name"] for item in orjson.loads(told.body)["items"]] == ["x"]
    told = Told(namespaces("a", "b"), page("ConfigMapList", "7"), page("ConfigMapList", "7"))
    await produce_list(listing, "main", forward, known).run(told)
    assert orjson.loads(told.body)["items"] == []


async def test_a_version_that_there_has_not_been_yet_by_namespace() -> None:
    listing, known = in_namespaces()
    told = Told(namespaces("a"), page("ConfigMapList", "7", "a"))
    with pytest.raises(StatusError) as caught:
        await produce_list(replace(listing, not_older_than=8), "main", forward, known).run(told)
    assert caught.value.code == 504
    assert not told.body


async def test_a_limited_list_is_read_by_namespace_as_far_as_its_client_wants() -> None:
    listing, known = in_namespaces()
    told = Told(namespaces(*"abcde"), *(page("ConfigMapList", "7", name) for name in "abc"))
    await produce_list(replace(listing, limit=2), "main", forward, known).run(told)
    value = orjson.loads(told.body)
    assert [item["metadata"]["name"] for item in value["items"]] == ["a", "b"]
    assert value["metadata"]["continue"] == make_token(f"{TOKEN}-a/b\0", 7)


async def test_where_a_namespace_breaks_off_the_answer_does() -> None:
    listing, known = in_namespaces()
    cut = page("ConfigMapList", "7", "a", "b")
    cut.body = cut.body[:-1]
    told = Told(namespaces("a", "b"), cut, page("ConfigMapList", "7", "c"))
    with pytest.raises(StatusError, match="too early"):
        await produce_list(listing, "main", forward, known).run(told)
    assert not told.ended


async def test_where_a_namespace_fails_later_the_answer_does() -> None:
    listing, known = in_namespaces()
    told = Told(namespaces("a", "b"), page("ConfigMapList", "7", "c"), Response(503, [], NOT_FOUND))
    with pytest.raises(StatusError) as caught:
        await produce_list(listing, "main", forward, known).run(told)
    assert caught.value.code == 503
    assert not told.ended


def selected(limit: int, start: str = "") -> Listing:
    query = (("labelSelector", f"0.kcp.dev/w={TOKEN},part"),)
    return Listing("/api/v1/x", query, limit, start, TOKEN, continued=True, selected=True)


@pytest.mark.parametrize(("there", "going_on"), [(("a", "b"), False), (("a", "b", "c"), True)])
async def test_one_more_tells_whether_a_limited_list_goes_on(there: tuple[str, ...], going_on: bool) -> None:
    answer = page("ConfigMapList", "7", *there)
    asked: list[bytes] = []

    def noted(target: bytes) -> Forward:
        asked.append(target)
        return forward(target)

    told = Told(answer)
    await produce_list(selected(2), "main", noted, Known()).run(told)
    value = orjson.loads(told.body)
    assert asked == [b"/api/v1/x?labelSelector=0.kcp.dev%2Fw%3Dk3fq7zn2a%2Cpart&limit=3&pretty=false"]
    assert [item["metadata"]["name"] for item in value["items"]] == ["a", "b"]
    next_token = value["metadata"].get("continue")
    assert next_token == (make_token(f"{TOKEN}-a/b\0", 7) if going_on else None)


def selected_by_namespace(limit: int = 0) -> Listing:
    return replace(selected(limit, make_token(f"{TOKEN}-")), in_namespaces=True)


async def test_what_is_selected_is_read_by_namespace() -> None:
    asked: list[bytes] = []

    def noted(target: bytes) -> Forward:
        asked.append(target)
        return forward(target)

    told = Told(namespaces("a", "b"), page("ConfigMapList", "7", "x"), page("ConfigMapList", "7", "y"))
    await produce_list(selected_by_namespace(), "main", noted, Known()).run(told)
    assert [item["metadata"]["name"] for item in orjson.loads(told.body)["items"]] == ["x", "y"]
    query = b"labelSelector=0.kcp.dev%2Fw%3Dk3fq7zn2a%2Cpart&resourceVersion=7&resourceVersionMatch=Exact&pretty=false"
    assert asked[1:] == [b"/api/v1/namespaces/k3fq7zn2a-%b/x?%b" % (name, query) for name in (b"a", b"b")]


async def test_what_is_selected_in_too_many_namespaces_is_passed_on_in_one() -> None:
    many = namespaces(*(f"n{number}" for number in range(SELECTED + 1)))
    told = Told(many, page("ConfigMapList", "7", "x", "y"))
    await produce_list(selected_by_namespace(), "main", forward, known := Known()).run(told)
    assert [item["metadata"]["name"] for item in orjson.loads(told.body)["items"]] == ["x", "y"]
    told = Told(Response(400, [(b"warning", b"old")], NOT_FOUND))
    await produce_list(selected_by_namespace(), "main", forward, known).run(told)
    assert (told.status, told.body) == (400, NOT_FOUND.replace(b"k3fq7zn2a-", b"")), "its words are asked for once"
    assert (b"warning", b"old") in told.headers


async def test_a_selected_list_that_is_refused_by_namespace_is_refused_in_one() -> None:
    refused = Response(400, [], b"x")
    told = Told(namespaces("a"), refused, Response(400, [], NOT_FOUND))
    await produce_list(selected_by_namespace(), "main", forward, Known()).run(told)
    assert (told.status, told.body) == (400, NOT_FOUND.replace(b"k3fq7zn2a-", b""))


async def test_a_limited_selection_goes_on_from_namespace_to_namespace() -> None:
    answers = [page("ConfigMapList", "7", *names) for names in ((), ("x",), ("y", "z"))]
    told = Told(namespaces(*"abcd"), *answers)
    await produce_list(selected_by_namespace(2), "main", forward, Known()).run(told)
    value = orjson.loads(told.body)
    assert [item["metadata"]["name"] for item in value["items"]] == ["x", "y"]
    assert value["metadata"]["continue"] == make_token(f"{TOKEN}-a/y\0", 7)
    told = Told(namespaces("a", "b"), page("ConfigMapList", "7", "x"), page("ConfigMapList", "7", "y"))
    await produce_list(selected_by_namespace(2), "main", forward, Known()).run(told)
    assert "continue" not in orjson.loads(told.body)["metadata"], "nothing follows"


@pytest.mark.parametrize("more", [False, True])
async def test_a_limited_deletion_goes_on_where_more_is_the_workspaces_own(more: bool) -> None:
    gone = page("ConfigMapList", "7", "a")
    value = orjson.loads(gone.body)
    value["metadata"]["continue"] = "NEXT"
    told = Told(Response(200, [], orjson.dumps(value)), page("ConfigMapList", "7", *(["b"] if more else [])))
    deletion = Forward("main", b"DELETE", b"/api/v1/x?limit=1", [])
    await produce_deleted(selected(1), deletion, forward).run(told)
    assert [item["metadata"]["name"] for item in orjson.loads(told.body)["items"]] == ["a"]
    assert ("continue" in orjson.loads(told.body)["metadata"]) is more


async def test_a_limited_deletion_that_is_refused() -> None:
    text = [(b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff")]
    told = Told(Response(404, [*text, (b"date", b"now")], b"404 page not found\n"))
    await produce_deleted(selected(1), forward(b"/x"), forward).run(told)
    assert (told.status, told.headers, told.body) == (404, text, b"404 page not found\n")
