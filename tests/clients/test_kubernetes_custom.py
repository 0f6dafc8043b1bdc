"""The official Python client with custom resources: dynamic client, subresources, rules, watches, events."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

from kubernetes import client, watch
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import DynamicApiError, ResourceNotFoundError

from tests.clients import same
from tests.clients.official import JSON_PATCH, MERGE, STRATEGIC, Calls, error, until
from tests.clients.side import Side, Sides
from tests.clients.tools import definition, tool

GROUP = "dynamic.example.com"


class Dynamic:
    """Calls of the dynamic client to one kind of object in one namespace."""

    def __init__(self, dynamic: DynamicClient, kind: str, version: str, namespace: str) -> None:
        self.resource = dynamic.resources.get(api_version=version, kind=kind)
        self._namespace = namespace

    def __call__(self, verb: str, /, **options: Any) -> Any:
        part = self.resource
        if "/" in verb:
            subresource, verb = verb.split("/")
            part = getattr(part, subresource)
        try:
            return same.obj(getattr(part, verb)(namespace=self._namespace, **options).to_dict())
        except DynamicApiError as raised:
            return error(raised)


def _defined(calls: Calls, dynamic: DynamicClient) -> Any:
    """The definition, and the client's own discovery, asked again and again until it knows the kind."""
    made = calls(client.ApiextensionsV1Api(calls.api).create_custom_resource_definition, definition(GROUP))
    made.pop("status", None)

    def known() -> bool:
        try:
            return dynamic.resources.get(api_version=f"{GROUP}/v1", kind="Tool") is not None
        except ResourceNotFoundError:
            return False

    until(known)
    return made


def _first(tools: Dynamic) -> Any:
    """A cluster may show a new kind a moment before it takes objects of it."""
    answers: list[Any] = []

    def taken() -> bool:
        answers.append(tools("create", body=tool(GROUP, "saw")))
        return bool(answers[-1].get("status") != 404)

    until(taken)
    return answers[-1]


def _dynamic(side: Side) -> list[Any]:
    calls, ns = Calls(side), "py-dynamic"
    calls.namespace(ns)
    dynamic = DynamicClient(calls.api)
    results = [calls.plain(dynamic.version["kubernetes"]), _defined(calls, dynamic)]
    tools = Dynamic(dynamic, "Tool", f"{GROUP}/v1", ns)
    wrong = tool(GROUP, "wrong", size=12)
    results += [
        _first(tools),
        tools("create", body=tool(GROUP, "saw")),
        tools("create", body=wrong),
        tools("create", body=tool(GROUP, "wrong", owner="nobody")),
        tools("create", body=tool(GROUP, "strict", weight=3), field_validation="Strict"),
        tools("create", body=tool(GROUP, "pruned", weight=3, colour="red")),
        tools("create", body={"apiVersion": f"{GROUP}/v1", "kind": "Tool", "metadata": {}, "spec": {"owner": "x"}}),
        tools("get", name="nothing"),
        tools("patch", name="saw", body={"spec": {"size": 4}}, content_type=MERGE),
        tools("patch", name="saw", body={"spec": {"size": 4}}, content_type=STRATEGIC),
        tools("patch", name="saw", body=[{"op": "remove", "path": "/spec/no"}], content_type=JSON_PATCH),
        tools("server_side_apply", body=tool(GROUP, "axe", size=2), field_manager="one"),
        tools("server_side_apply", body=tool(GROUP, "axe", size=3), field_manager="two"),
        tools("server_side_apply", body=tool(GROUP, "axe", size=3), field_manager="two", force_conflicts=True),
        tools("status/replace", name="saw", body={**tools("get", name="saw"), "status": {"size": 1}}),
        tools("status/patch", name="saw", body={"status": {"phase": "Sharp", "selector": "a=b"}}, content_type=MERGE),
        tools("scale/get", name="saw"),
        tools("scale/patch", name="saw", body={"spec": {"replicas": 7}}, content_type=MERGE),
        tools("scale/patch", name="saw", body={"spec": {"replicas": 70}}, content_type=MERGE),
        tools("get", field_selector="spec.colour=red"),
        tools("get", field_selector="spec.owner=me"),
        tools("get", limit=1)["items"],
        tools("replace", body={**tool(GROUP, "saw"), "metadata": {"name": "saw", "resourceVersion": "1"}}),
        tools("delete", name="pruned", body={"propagationPolicy": "Orphan!"}),
        tools("delete", name="pruned", body={"propagationPolicy": "Background"}),
        tools("delete", label_selector="no=where"),
    ]
    results.append(Dynamic(dynamic, "ConfigMap", "v1", ns)("create", body=_unknown_fields(), field_validation="Strict"))
    return [*results, _rest(calls, ns), _watched(calls, ns), _owned(calls, ns), _gone(calls, ns)]


def _unknown_fields() -> dict[str, Any]:
    metadata = {"name": "x", "colour": "red"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "datas": {"a": "b"}}


def _rest(calls: Calls, ns: str) -> list[Any]:
    """CustomObjectsApi: the same objects by the other client of the package."""
    api, plural = calls.custom, "tools"
    here = (GROUP, "v1", ns, plural)
    return [
        calls(api.list_namespaced_custom_object, *here),
        calls(api.list_custom_object_for_all_namespaces, GROUP, "v1", plural)["items"],
        calls(api.list_cluster_custom_object, GROUP, "v1", plural, limit=1)["items"],
        calls(api.get_namespaced_custom_object_status, *here, "saw"),
        calls(api.get_namespaced_custom_object_scale, *here, "axe"),
        calls(api.patch_namespaced_custom_object, *here, "axe", {"spec": {"size": 5}}),
        calls(api.patch_namespaced_custom_object, *here, "axe", {"spec": {"size": "x"}}),
        calls(api.list_namespaced_custom_object, GROUP, "v2", ns, plural),
        calls(api.list_namespaced_custom_object, "no.example.com", "v1", ns, plural),
    ]


def _watched(calls: Calls, ns: str) -> list[Any]:
    """From before the kind was there (410), and what comes while objects change."""
    listing = calls.custom.list_namespaced_custom_object
    here = (GROUP, "v1", ns, "tools")
    too_old = calls(lambda: list(watch.Watch().stream(listing, *here, resource_version="1", timeout_seconds=1)))
    too_old["reason"] = too_old["reason"].partition("(")[0]
    version = calls.custom.list_namespaced_custom_object(*here)["metadata"]["resourceVersion"]

    def change() -> None:
        time.sleep(0.3)
        calls.custom.patch_namespaced_custom_object(*here, "axe", {"metadata": {"labels": {"new": "yes"}}})
        calls.custom.patch_namespaced_custom_object(*here, "axe", {"metadata": {"finalizers": ["example.com/hold"]}})
        calls.custom.delete_namespaced_custom_object(*here, "axe")
        calls.custom.patch_namespaced_custom_object(*here, "axe", {"metadata": {"finalizers": None}})

    changing = threading.Thread(target=change)
    changing.start()
    watcher, seen = watch.Watch(), []
    for event in watcher.stream(listing, *here, resource_version=version, timeout_seconds=30):
        seen.append((event["type"], calls.plain(event["object"])))
        if event["type"] == "DELETED":
            watcher.stop()
    changing.join()
    return [too_old, seen]


def _owned(calls: Calls, ns: str) -> list[Any]:
    """Events about a custom object; what belongs to another object goes with it."""
    here = (GROUP, "v1", ns, "tools")
    saw = {"apiVersion": f"{GROUP}/v1", "kind": "Tool", "name": "saw", "namespace": ns}
    seen = {"involvedObject": saw, "reason": "Dull", "message": "it is dull", "type": "Warning"}
    reporter = {"reportingComponent": "sharpener", "reportingInstance": "one", "action": "Look"}
    event = {"metadata": {"name": "saw.1"}, "eventTime": "2026-01-02T03:04:05.000006Z", **seen, **reporter}
    owner = calls.core.create_namespaced_config_map(ns, {"metadata": {"name": "owner"}})
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
    owned = {"metadata": {"name": "owned", "ownerReferences": [reference]}}
    results = [
        calls(calls.core.create_namespaced_event, ns, event),
        calls(calls.core.list_namespaced_event, ns, field_selector="involvedObject.name=saw,reason=Dull"),
        calls(calls.core.list_event_for_all_namespaces, field_selector=f"involvedObject.namespace={ns},type=Warning"),
        calls(client.EventsV1Api(calls.api).list_namespaced_event, ns, field_selector="regarding.kind=Tool"),
        calls(calls.core.create_namespaced_config_map, ns, owned),
        calls(calls.core.delete_namespaced_config_map, "owner", ns, propagation_policy="Background"),
        calls(calls.custom.delete_namespaced_custom_object, *here, "saw", propagation_policy="Background"),
    ]
    until(lambda: "status" in calls(calls.core.read_namespaced_config_map, "owned", ns))
    return results


def _gone(calls: Calls, ns: str) -> list[Any]:
    api = client.ApiextensionsV1Api(calls.api)
    deleted = calls(api.delete_custom_resource_definition, f"tools.{GROUP}")
    until(lambda: "body" in calls(api.read_custom_resource_definition, f"tools.{GROUP}"))
    until(lambda: "body" in calls(calls.custom.list_namespaced_custom_object, GROUP, "v1", ns, "tools"))
    return [deleted, calls(calls.custom.list_namespaced_custom_object, GROUP, "v1", ns, "tools")]


async def test_custom_objects(sides: Sides) -> None:
    await sides.same(lambda side: asyncio.to_thread(_dynamic, side))
