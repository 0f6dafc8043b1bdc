"""A namespace's whole life, and what the garbage collector takes with what."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.clients import same
from tests.e2e.workspaces.twins import CRDS, Answer, Api, Twins

NAMESPACES = "/api/v1/namespaces"
ZOO = "/apis/zoo.test/v1"


def gone(answer: Answer) -> bool:
    return answer.status == 404


async def test_what_a_new_namespace_has(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        made = await api.must("POST", NAMESPACES, {"metadata": {"name": "life-new", "labels": {"a": "b"}}})
        place = f"{NAMESPACES}/life-new"
        for path in (f"{place}/serviceaccounts/default", f"{place}/configmaps/kube-root-ca.crt"):
            await api.until("GET", path, wanted=lambda answer: answer.status == 200)
        accounts = await api.must("GET", f"{place}/serviceaccounts/default")
        seen = [made, accounts, await api.must("GET", f"{place}/status")]
        root = await api.must("GET", f"{place}/configmaps/kube-root-ca.crt")
        seen.append(root["metadata"]["annotations"])
        again = await api.ask("POST", NAMESPACES, {"metadata": {"name": "life-new"}})
        nowhere = await api.ask("POST", f"{NAMESPACES}/life-none/configmaps", {"metadata": {"name": "x"}})
        seen += [again.said, nowhere.said]
        await api.must("DELETE", place)
        return same.obj(seen)

    await twins.same(scenario)


async def test_deletion_waits_for_finalizers_and_says_so(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        await api.must("POST", NAMESPACES, {"metadata": {"name": "life-held"}})
        place = f"{NAMESPACES}/life-held"
        held = {"metadata": {"name": "held", "finalizers": ["life.test/held"]}, "data": {"a": "b"}}
        await api.must("POST", f"{place}/configmaps", held)
        await api.must("POST", f"{place}/configmaps", {"metadata": {"name": "free"}})
        deleted = await api.must("DELETE", place)
        assert deleted["metadata"]["deletionTimestamp"]

        def waits(answer: Answer) -> bool:
            conditions = answer.json.get("status", {}).get("conditions", ())
            return any(
                item["type"] == "NamespaceFinalizersRemaining" and item["status"] == "True" for item in conditions
            )

        waiting = (await api.until("GET", place, wanted=waits)).json
        refused = await api.ask("POST", f"{place}/configmaps", {"metadata": {"name": "late"}})
        left = [item["metadata"]["name"] for item in (await api.must("GET", f"{place}/configmaps"))["items"]]
        patch = {"metadata": {"finalizers": None}}
        merge = "application/merge-patch+json"
        await api.must("PATCH", f"{place}/configmaps/held", patch, content_type=merge)
        last = await api.until("GET", place, wanted=gone, within=40)
        return (
            same.obj([deleted["status"], waiting["spec"], waiting["status"]]),
            refused.said,
            "held" in left,
            last.said,
        )

    await twins.same(scenario)


async def test_finalize_by_hand(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        body = {"metadata": {"name": "life-hand"}, "spec": {"finalizers": ["kubernetes", "life.test/own"]}}
        made = await api.must("POST", NAMESPACES, body)
        place = f"{NAMESPACES}/life-hand"
        await api.must("DELETE", place)

        def own_alone(answer: Answer) -> bool:
            return bool(answer.json.get("spec", {}).get("finalizers") == ["life.test/own"])

        now = (await api.until("GET", place, wanted=own_alone, within=40)).json
        finalized = await api.must("PUT", f"{place}/finalize", now | {"spec": {"finalizers": []}})
        await api.until("GET", place, wanted=gone)
        return made["spec"], finalized["spec"]

    await twins.same(scenario)


def crd(plural: str, kind: str, scope: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "zoo.test", "scope": scope, "names": {"plural": plural, "kind": kind}, "versions": [version]}
    return {"metadata": {"name": f"{plural}.zoo.test"}, "spec": spec}


def thing(kind: str, name: str, owner: Any = None, **reference: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name}
    if owner is not None:
        version, about = owner["apiVersion"], owner["metadata"]
        meta["ownerReferences"] = [
            {"apiVersion": version, "kind": owner["kind"], "name": about["name"], "uid": about["uid"], **reference}
        ]
    group = "zoo.test/v1" if kind in ("Cage", "Keeper") else "v1"
    return {"apiVersion": group, "kind": kind, "metadata": meta}


PLACES = {
    "ConfigMap": f"{NAMESPACES}/default/configmaps",
    "Cage": f"{ZOO}/namespaces/default/cages",
    "Keeper": f"{ZOO}/keepers",
    "Namespace": NAMESPACES,
}


PAIRS = (("ConfigMap", "Cage"), ("Cage", "ConfigMap"), ("Keeper", "ConfigMap"), ("Keeper", "Cage"),
         ("Keeper", "Keeper"), ("Namespace", "Keeper"))  # fmt: skip
"""Owners and what they own: native and custom, in a namespace and without."""


async def test_the_owned_go_with_their_owners(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        for definition in (crd("cages", "Cage", "Namespaced"), crd("keepers", "Keeper", "Cluster")):
            await api.ask("POST", CRDS, definition)
            plural = definition["spec"]["names"]["plural"]
            await api.until("GET", f"{ZOO}/{plural}", wanted=lambda answer: answer.status == 200)
        seen = await asyncio.gather(*(collected(api, *pair, "Background") for pair in PAIRS))
        # By now the collector has heard of the new kinds. A namespace is emptied whatever becomes of what it owns.
        others = [(*pair, policy) for pair in PAIRS[:-1] for policy in ("Foreground", "Orphan")]
        return same.obj([*seen, *await asyncio.gather(*(collected(api, *case) for case in others))])

    await twins.same(scenario)


async def collected(api: Api, owner: str, owned: str, policy: str) -> Any:
    """Make both, delete the owner, and see to it that the owned one is as it should be."""
    names = [f"{part}-{owner}-{owned}-{policy}".lower() for part in ("owner", "owned")]
    above = await api.must("POST", PLACES[owner], thing(owner, names[0]))
    reference = {"blockOwnerDeletion": True, "controller": True} if policy == "Foreground" else {}
    below = await api.must("POST", PLACES[owned], thing(owned, names[1], above, **reference))
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
    await api.must("DELETE", f"{PLACES[owner]}/{names[0]}", options)
    await api.until("GET", f"{PLACES[owner]}/{names[0]}", wanted=gone, within=80)
    path = f"{PLACES[owned]}/{names[1]}"
    kept = None
    if policy == "Orphan":
        kept = await api.must("GET", path)
        await api.must("DELETE", path)
    else:
        await api.until("GET", path, wanted=gone, within=80)
    return owner, owned, policy, below["metadata"]["ownerReferences"], kept and kept["metadata"].get("ownerReferences")
