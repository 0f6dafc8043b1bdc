"""The official Python client: native objects, patches, lists, watches, informers."""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kubernetes import client, watch
from kubernetes.informer import SharedInformer

from tests.clients.official import APPLY, JSON_PATCH, MERGE, STRATEGIC, Calls, managers, until
from tests.clients.side import Side, Sides


def _config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def _applied(data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}


def _objects(side: Side) -> list[Any]:
    calls, ns = Calls(side), "py-objects"
    core, patch = calls.core, calls.core.patch_namespaced_config_map
    results = [
        calls.namespace(ns),
        calls(core.create_namespace, {"metadata": {"name": "No_Name"}}),
        calls(core.create_namespaced_config_map, ns, _config_map("a", {"app": "x"}, k="v")),
        calls(core.create_namespaced_config_map, ns, _config_map("a")),
        calls(core.create_namespaced_config_map, "nowhere", _config_map("a")),
        calls(core.read_namespaced_config_map, "missing", ns),
        calls(core.list_namespaced_config_map, ns, field_selector="data.k=v"),
    ]
    old = core.read_namespaced_config_map("a", ns)
    tested = [{"op": "test", "path": "/data/s", "value": "1"}, {"op": "add", "path": "/data/j", "value": "1"}]
    results += [
        calls(patch, "a", ns, {"data": {"m": "1"}}, _content_type=MERGE),
        calls(patch, "a", ns, {"data": {"m": None, "s": "1"}}, _content_type=STRATEGIC),
        calls(patch, "a", ns, tested, _content_type=JSON_PATCH),
        calls(patch, "a", ns, [{**tested[0], "value": "2"}], _content_type=JSON_PATCH),
        calls(patch, "a", ns, {"metadata": {"name": "b"}}, _content_type=MERGE),
        calls(core.replace_namespaced_config_map, "a", ns, old),
        calls(core.delete_namespaced_config_map, "a", ns, body={"preconditions": {"uid": "1-2"}}),
        calls(core.delete_namespaced_config_map, "a", ns, dry_run="All"),
        calls(core.create_namespaced_config_map, ns, _config_map("dry"), dry_run="All"),
        calls(core.read_namespaced_config_map, "dry", ns),
        calls(patch, "applied", ns, _applied({"k": "v"}), field_manager="one", _content_type=APPLY),
        calls(patch, "applied", ns, _applied({"k": "w"}), field_manager="two", _content_type=APPLY),
        calls(patch, "applied", ns, _applied({"k": "w"}), field_manager="two", force=True, _content_type=APPLY),
        calls(patch, "applied", ns, _applied({"n": "v"}), field_manager="one", _content_type=APPLY),
        managers(core.read_namespaced_config_map("applied", ns)),
    ]
    held = _config_map("held")
    held.metadata.finalizers = ["example.com/hold"]
    core.create_namespaced_config_map(ns, held)
    results.append(calls(core.delete_namespaced_config_map, "held", ns))
    results.append(core.read_namespaced_config_map("held", ns).metadata.deletion_timestamp is not None)
    results.append(calls(patch, "held", ns, {"metadata": {"finalizers": None}}, _content_type=MERGE))
    results.append(calls(core.read_namespaced_config_map, "held", ns))
    results.append(_pages(calls, ns))
    results.append(calls(core.delete_collection_namespaced_config_map, ns, label_selector="page=yes"))
    return [*results, _end_of_namespace(calls, ns)]


def _pages(calls: Calls, ns: str) -> list[Any]:
    """A list in pages, before and after one of its objects went, and continued where it cannot be."""
    core = calls.core
    for number in range(7):
        core.create_namespaced_config_map(ns, _config_map(f"page-{number}", {"page": "yes"}))
    results, selected = [], {"label_selector": "page=yes"}
    for namespaced, options in ((True, {}), (True, selected), (False, selected)):
        token, seen = None, []
        while token != "":
            asked = {"limit": 3, "_continue": token, **options}
            page = (
                core.list_namespaced_config_map(ns, **asked)
                if namespaced
                else core.list_config_map_for_all_namespaces(**asked)
            )
            token = page.metadata._continue or ""
            seen.append(([item.metadata.name for item in page.items], page.metadata.remaining_item_count, bool(token)))
        results.append(seen)
    first = core.list_namespaced_config_map(ns, limit=2, label_selector="page=yes")
    core.delete_namespaced_config_map("page-6", ns)
    rest = core.list_namespaced_config_map(ns, _continue=first.metadata._continue, label_selector="page=yes")
    exactly = {"resource_version_match": "Exact"}
    exact = {"resource_version": first.metadata.resource_version, **exactly, **selected}
    return [
        *results,
        [item.metadata.name for item in rest.items],  # as it was when the first page was read
        [item["metadata"]["name"] for item in calls(core.list_namespaced_config_map, ns, **exact)["items"]],
        len(core.list_namespaced_config_map(ns, resource_version="0", **selected).items),
        calls(core.list_namespaced_config_map, ns, _continue="nonsense"),
        calls(core.list_namespaced_config_map, ns, limit=1, **exactly),
        _too_new(calls(core.list_namespaced_config_map, ns, resource_version="99999999", **exactly)),
    ]


def _too_new(answer: Any) -> Any:
    answer["body"]["message"] = answer["body"]["message"].partition(", current:")[0]
    return answer


def _end_of_namespace(calls: Calls, ns: str) -> Any:
    deleted = calls(calls.core.delete_namespace, ns)
    deleted.pop("status", None)  # conditions come and go as its controller works
    until(lambda: ns not in [item.metadata.name for item in calls.core.list_namespace().items])
    return [deleted, calls(calls.core.read_namespace, ns), calls(calls.core.list_namespaced_config_map, ns)]


async def test_objects(sides: Sides) -> None:
    await sides.same(lambda side: asyncio.to_thread(_objects, side))


def _watched(calls: Calls, **options: Any) -> list[tuple[str, str]]:
    """Events until the server ends the watch, which it was asked to do after seconds; ERROR is an exception.

    Of bookmarks, which come when a server's timer happens to tick, the first of several.
    """
    asked = {"timeout_seconds": 3, "label_selector": "seen=yes", **options}
    if "field_selector" in asked:
        events = watch.Watch().stream(calls.core.list_config_map_for_all_namespaces, **asked)
    else:
        events = watch.Watch().stream(calls.core.list_namespaced_config_map, "py-watch", **asked)
    seen = [(event["type"], event["raw_object"]["metadata"].get("name", "")) for event in events]
    return [event for number, event in enumerate(seen) if event[0] != "BOOKMARK" or event not in seen[:number]]


def _watches(side: Side) -> list[Any]:
    calls = Calls(side)
    core, ns = calls.core, "py-watch"
    calls.namespace(ns)
    versions = []
    for name in "abc":
        made = core.create_namespaced_config_map(ns, _config_map(name, {"seen": "yes"}))
        versions.append(made.metadata.resource_version)
    core.patch_namespaced_config_map("a", ns, {"data": {"k": "v"}})
    core.patch_namespaced_config_map("b", ns, {"metadata": {"labels": {"seen": "no"}}})  # DELETED for the selector
    core.delete_namespaced_config_map("c", ns)
    asked: list[dict[str, Any]] = [
        {},
        {"resource_version": "0"},
        {"resource_version": versions[0]},
        {"resource_version": versions[-1]},
        {"send_initial_events": True, "resource_version_match": "NotOlderThan", "allow_watch_bookmarks": True},
        {"field_selector": "metadata.name=a,metadata.namespace=py-watch"},
        {"resource_version": "x"},
        {"send_initial_events": True},
    ]
    with ThreadPoolExecutor(len(asked)) as threads:  # each takes seconds
        return list(threads.map(lambda options: calls(_watched, calls, **options), asked))


async def test_watches(sides: Sides) -> None:
    results = await sides.same(lambda side: asyncio.to_thread(_watches, side))
    assert results[3] == [["MODIFIED", "a"], ["DELETED", "b"], ["DELETED", "c"]]
    assert [result["status"] for result in results[-2:]] == [500, 422]


def _write(calls: Calls, ns: str, writer: int) -> None:
    """Its own objects come, change and partly go again."""
    for number in range(12):
        name = f"w{writer}-{number}"
        calls.core.create_namespaced_config_map(ns, _config_map(name, {"writer": str(writer)}, round="0"))
        for change in range(1, 1 + number % 3):
            calls.core.patch_namespaced_config_map(name, ns, {"data": {"round": str(change)}})
        if number % 4 == 3:
            calls.core.delete_namespaced_config_map(name, ns)


def _informer(side: Side) -> list[Any]:
    """Several writers; each informer's cache and what its handlers were told must be what stands there in the end."""
    calls, ns = Calls(side), "py-informer"
    calls.namespace(ns)
    writers = [threading.Thread(target=_write, args=(Calls(side), ns, number)) for number in range(4)]
    informers = [
        SharedInformer(calls.core.list_namespaced_config_map, namespace=ns, label_selector="writer"),
        SharedInformer(Calls(side).core.list_config_map_for_all_namespaces, label_selector="writer in (1,2)"),
        SharedInformer(Calls(side).core.list_namespaced_config_map, namespace=ns, resync_period=1),
    ]
    told: list[dict[str, str]] = [{} for _ in informers]

    def follow(informer: SharedInformer, known: dict[str, str]) -> None:
        for event in ("ADDED", "MODIFIED"):
            informer.add_event_handler(event, lambda o: known.__setitem__(o.metadata.name, o.metadata.resource_version))
        informer.add_event_handler("DELETED", lambda o: known.pop(o.metadata.name))

    for informer, known in zip(informers, told, strict=True):
        follow(informer, known)
    for starting, writer in itertools.zip_longest(informers, writers):
        writer.start()
        if starting is not None:
            starting.start()
    for writer in writers:
        writer.join()
    listed = calls.core.list_namespaced_config_map(ns).items
    expected = {item.metadata.name: item.metadata.resource_version for item in listed}
    wanted = [
        {name: version for name, version in expected.items() if name.startswith(start)}
        for start in ("w", ("w1", "w2"), "")
    ]
    until(lambda: told == wanted)
    caches = [{o.metadata.name: o.metadata.resource_version for o in informer.cache.list()} for informer in informers]
    assert caches == wanted
    for informer in informers:
        informer.stop()
    return sorted((item.metadata.name, item.data["round"]) for item in listed if item.metadata.labels)


async def test_informers_against_concurrent_writers(sides: Sides) -> None:
    left = await sides.same(lambda side: asyncio.to_thread(_informer, side))
    assert len(left) == 4 * 9
