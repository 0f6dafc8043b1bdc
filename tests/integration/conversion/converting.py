"""A type of two versions, and a real webhook that converts between them, in each way in which one can fail."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import orjson
from aiohttp import web

from proxy.kube.client import Resource

Object = dict[str, Any]
GROUP = "shapes.example.com"
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
PLACES = {version: Resource(GROUP, version, "places") for version in ("v1", "v2")}
"""v1 has host and port, v2 an address."""
SITES = {version: Resource(GROUP, version, "sites", namespaced=False) for version in ("v1", "v2")}


def crd(config: Object | None, *, stored: str = "v1", plural: str = "places", **webhook: Any) -> Object:
    """``config``: a ``clientConfig``, None for no webhook."""
    kind = plural[:-1].capitalize()
    spec = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    conversion: Object = {"strategy": "None"}
    if config is not None:
        said = {"conversionReviewVersions": ["v1"], "clientConfig": config} | webhook
        conversion = {"strategy": "Webhook", "webhook": said}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Cluster" if plural == "sites" else "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": kind, "listKind": f"{kind}List"},
            "versions": [
                {"name": name, "served": True, "storage": name == stored, "schema": schema} for name in ("v1", "v2")
            ],
            "conversion": conversion,
        },
    }


def obj(name: str, version: str = "v1", kind: str = "Place", **meta: Any) -> Object:
    spec = {"host": name, "port": 80} if version == "v1" else {"address": f"{name}:80"}
    return {"apiVersion": f"{GROUP}/{version}", "kind": kind, "metadata": {"name": name, **meta}, "spec": spec}


def turned(given: Object, version: str) -> Object:
    made = copy.deepcopy(given)
    spec, made["apiVersion"] = made.get("spec") or {}, version
    if version.endswith("/v2") and "host" in spec:
        made["spec"] = {"address": f"{spec.pop('host')}:{spec.pop('port', 0)}", **spec}
    elif version.endswith("/v1") and "address" in spec:
        host, _, port = spec.pop("address").partition(":")
        made["spec"] = {"host": host, "port": int(port), **spec}
    return made


async def convert(way: str, value: str, review: Object) -> web.Response:
    """``way`` and ``value``: parts of the path."""
    request = review["request"]
    objects = [turned(given, request["desiredAPIVersion"]) for given in request["objects"]]
    response: Object = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
    answer: Object = {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
    match way:
        case "fails":
            response |= {"result": {"status": "Failed", "message": "not today"}, "convertedObjects": []}
        case "mute":
            response |= {"result": {"status": "Failure"}, "convertedObjects": []}
        case "uid":
            response["uid"] = "another"
        case "nothing":
            del answer["response"]
        case "kind":
            answer["kind"] = "Other"
        case "fewer":
            response["convertedObjects"] = []
        case "more":
            response["convertedObjects"] = objects * 2
        case "scalar":
            response["convertedObjects"] = [7]
        case "bare":
            for each in objects:
                del each["metadata"]
        case "version":
            for each in objects:
                each["apiVersion"] = value.replace("_", "/")
        case "set":  # a field of the object, or of its metadata
            for each in objects:
                _set(each, value)
        case "slow":
            await asyncio.sleep(25)
        case "late":
            await asyncio.sleep(float(value))
        case "huge":
            objects[0]["spec"]["filling"] = "x" * (9 * 2**20)
        case "error":
            return web.Response(status=500, text="out of order")
        case "missing":
            return web.Response(status=404, text="nothing")
        case "redirect":
            raise web.HTTPFound("/convert")
        case "garbage":
            return web.Response(text="no json", content_type="application/json")
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


def _set(given: Object, what: str) -> None:
    """``metadata.name=x``, a value in JSON after ``:=``."""
    path, _, value = what.partition("=")
    *steps, last = path.removesuffix(":").split(".")
    for step in steps:
        given = given.setdefault(step, {})
    given[last] = orjson.loads(value) if path.endswith(":") else value
