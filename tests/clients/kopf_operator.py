"""An operator of the framework kopf, run by ``kopf run``: each tool gets a box, a ConfigMap that belongs to it.

``OPERATOR`` is the name that it leaves on what it does.
"""

from __future__ import annotations

import os
from typing import Any

import kopf
import pykube

GROUPS = ("kopf.example.com", "late.kopf.example.com")
NAME = os.environ.get("OPERATOR", "")
api = pykube.HTTPClient(pykube.KubeConfig.from_env())


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = "kopf.example.com/boxes"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="kopf.example.com")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix="kopf.example.com")


def _box(namespace: str | None, name: str | None) -> pykube.ConfigMap:
    return pykube.ConfigMap.objects(api, namespace=namespace).get(name=f"{name}-box")


@kopf.index(GROUPS[0], "tools")
def sizes(name: str, spec: kopf.Spec, **_: Any) -> dict[str, int]:
    return {name: spec["size"]}


@kopf.on.create(GROUPS[0], "tools", id="box")
@kopf.on.create(GROUPS[1], "tools", id="box")
def create(
    body: kopf.Body, spec: kopf.Spec, patch: kopf.Patch, namespace: str | None, name: str, retry: int, **_: Any
) -> None:
    if retry == 0:
        raise kopf.TemporaryError("the wood is not there yet", delay=0.2)
    box: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-box"}}
    box["data"] = {"size": str(spec["size"]), "by": NAME}
    kopf.adopt(box)
    kopf.label(box, {"box-of": name})
    pykube.ConfigMap(api, box).create()
    kopf.info(body, reason="Boxed", message=f"{name} lies in a box")
    patch.status["phase"] = "Boxed"


@kopf.on.update(GROUPS[0], "tools", field="spec.size", id="size")  # type: ignore[arg-type]  # sizes is the index
def resize(
    old: Any, new: Any, patch: kopf.Patch, namespace: str | None, name: str | None, sizes: Any, **_: Any
) -> None:
    assert next(iter(sizes[name])) == new  # the index follows before handlers are called
    _box(namespace, name).patch({"data": {"size": str(new), "was": str(old), "by": NAME}})
    patch.status["size"] = new


@kopf.on.resume(GROUPS[0], "tools", id="again")
def resume(namespace: str | None, name: str, patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    if status.get("phase"):  # not for those that are new
        patch.metadata.labels["resumed-by"] = NAME


@kopf.timer(GROUPS[0], "tools", interval=0.5, field="status.phase", value="Boxed")
def inspect(patch: kopf.Patch, **_: Any) -> None:
    patch.status["phase"] = "Inspected"


@kopf.on.delete(GROUPS[0], "tools", id="farewell")
def delete(namespace: str | None, name: str, **_: Any) -> None:
    metadata = {"name": f"farewell-{name}", "namespace": namespace}
    farewell = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"by": NAME}}
    pykube.ConfigMap(api, farewell).create()
