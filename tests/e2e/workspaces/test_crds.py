"""CustomResourceDefinitions in all that they can, and their instances."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.clients import same
from tests.e2e.workspaces.twins import CRDS, Answer, Api, Twins
from tests.integration.eventually import eventually

MERGE = "application/merge-patch+json"
STRING = {"type": "string"}


def crd(group: str, plural: str, *, versions: list[dict[str, Any]] | None = None, **names: Any) -> dict[str, Any]:
    kind = names.pop("kind", plural.title())
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    one = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind, **names}}
    return {"metadata": {"name": f"{plural}.{group}"}, "spec": {**spec, "versions": versions or one}}


def ready(answer: Answer) -> bool:
    return answer.status == 200


def conditions(answer: Answer) -> dict[str, str]:
    found = (answer.json.get("status") or {}).get("conditions") or ()
    return {item["type"]: f"{item['status']} {item['reason']} {item['message']}" for item in found}


def accepted(answer: Answer) -> bool:
    return "NamesAccepted" in conditions(answer)


async def test_two_versions_subresources_columns_defaults_and_rules(twins: Twins) -> None:
    v1: dict[str, Any] = {
        "name": "v1", "served": True, "storage": True,
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                                                 "statusReplicasPath": ".status.replicas"}},
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Wide", "type": "string", "jsonPath": ".spec.color", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "required": ["replicas"],
                     "x-kubernetes-validations": [
                         {"rule": "self.replicas <= self.most", "message": "more than the most"},
                         {"rule": "self.color == oldSelf.color", "message": "the color cannot change"}],
                     "properties": {"replicas": {"type": "integer", "minimum": 0},
                                    "most": {"type": "integer", "default": 10},
                                    "color": {**STRING, "default": "red", "enum": ["red", "blue"]}}},
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}},
    }  # fmt: skip
    v2 = {"name": "v1beta1", "served": True, "storage": False, "deprecated": True, "schema": v1["schema"],
          "selectableFields": v1["selectableFields"]}  # fmt: skip

    async def scenario(api: Api) -> Any:
        definition = crd("crds.test", "flowers", kind="Flower", shortNames=["fl"], categories=["all", "plants"],
                         versions=[v1, v2])  # fmt: skip
        made = await api.must("POST", CRDS, definition)
        one, old = (f"/apis/crds.test/{version}/namespaces/default/flowers" for version in ("v1", "v1beta1"))
        for path in (one, old):
            await api.until("GET", path, wanted=ready)
        now = await api.until("GET", f"{CRDS}/flowers.crds.test", wanted=lambda answer: len(conditions(answer)) >= 2)
        seen = [
            made["spec"],
            conditions(now),
            now.json["status"]["acceptedNames"],
            now.json["status"]["storedVersions"],
        ]

        def flower(name: str, **spec: Any) -> dict[str, Any]:
            return {"apiVersion": "crds.test/v1", "kind": "Flower", "metadata": {"name": name}, "spec": spec}

        seen.append(await api.must("POST", one, flower("a", replicas=3)))
        said = [
            (await api.ask("POST", one, flower("b", **spec))).said
            for spec in ({}, {"replicas": 11}, {"replicas": 1, "color": "green"}, {"replicas": "x"})
        ]
        said.append((await api.ask("POST", f"{one}?fieldValidation=Strict", flower("b", replicas=1, other=1))).said)
        warned = await api.ask("POST", f"{one}?fieldValidation=Warn&dryRun=All", flower("b", replicas=1, other=1))
        seen.append((warned.status, warned.headers.get("warning")))
        said.append((await api.ask("PATCH", f"{one}/a", {"spec": {"color": "blue"}}, content_type=MERGE)).said)
        status = {"status": {"replicas": 2}, "spec": {"replicas": 9}}
        seen.append(await api.must("PATCH", f"{one}/a/status", status, content_type=MERGE))
        seen.append(await api.must("GET", f"{one}/a/scale"))
        seen.append(await api.must("PATCH", f"{one}/a/scale", {"spec": {"replicas": 5}}, content_type=MERGE))
        for path in (f"{old}/a", old, "/apis/crds.test/v1beta1/flowers"):
            deprecated = await api.ask("GET", path)
            seen.append((deprecated.seen, deprecated.json["kind"], deprecated.json.get("spec")))
        table = await api.must("GET", one, Accept="application/json;as=Table;g=meta.k8s.io;v=v1")
        seen.append((table["columnDefinitions"], [row["cells"][:3] for row in table["rows"]]))
        for selector in ("spec.color=red", "spec.color=blue", "metadata.name=a", "spec.replicas=5"):
            for path in (one, "/apis/crds.test/v1/flowers"):
                found = await api.ask("GET", f"{path}?fieldSelector={selector}")
                seen.append((selector, found.said if found.status >= 400 else len(found.json["items"])))
        said.append((await api.ask("GET", f"{one}/a/other")).said)
        said.append((await api.ask("PUT", f"{one}/a", flower("a", replicas=1))).said)
        resources = (await api.must("GET", "/apis/crds.test/v1"))["resources"]
        seen.append([{key: value for key, value in item.items() if key != "storageVersionHash"} for item in resources])
        seen.append(await api.must("GET", "/apis/crds.test"))
        await api.must("DELETE", f"{CRDS}/flowers.crds.test")
        await api.until("GET", one, wanted=lambda answer: answer.status == 404, within=60)
        return same.obj(seen), said

    await twins.same(scenario)


async def test_a_definition_is_as_soon_of_use_as_on_a_cluster(twins: Twins) -> None:
    """When it is Established, when its objects can be listed and made, and what a client is told until then."""
    plain, workspace = await asyncio.gather(
        *(asyncio.gather(*(appearing(api, number) for number in range(3))) for api in (twins.plain, twins.workspace))
    )
    for seen in (*plain, *workspace):
        # Each state is one that comes, and none comes twice.
        assert [state for state in APPEARING if state in seen.states] == seen.states
        assert {*seen.listed[:-1], *seen.made[:-1]} <= TOO_EARLY
    for moment in ("Established", "listed", "made"):
        here, there = (min(seen.after[moment] for seen in side) for side in (workspace, plain))
        assert here < 2 * there + 2, (moment, here, there)


NAMES = "NamesAccepted: True NoConflicts"
APPEARING = [
    [],
    [NAMES, "Established: False Installing"],
    [NAMES, "Established: True InitialNamesAccepted"],
]
"""Conditions of a new CRD."""
TOO_EARLY = {404, 429}
"""With 429 a server that has not read its objects yet sends clients to try again."""


@dataclass(slots=True)
class Appearing:
    """What was seen of a new CRD, each without repetitions."""

    states: list[list[str]] = field(default_factory=list)
    listed: list[int] = field(default_factory=list)
    """Status of lists."""
    made: list[int] = field(default_factory=list)
    """Status of tries to make an object."""
    after: dict[str, float] = field(default_factory=dict)
    """Seconds."""


async def appearing(api: Api, number: int) -> Appearing:
    group = f"appearing-{number}.test"
    place = f"/apis/{group}/v1/namespaces/default/clouds"
    cloud = {"apiVersion": f"{group}/v1", "kind": "Cloud", "metadata": {"name": "a"}}
    seen = Appearing()
    await api.must("POST", CRDS, crd(group, "clouds", kind="Cloud"))
    began = time.monotonic()

    async def established() -> bool:
        told = conditions(await api.ask("GET", f"{CRDS}/clouds.{group}"))
        state = [
            f"{kind}: {' '.join(told[kind].split()[:2])}" for kind in ("NamesAccepted", "Established") if kind in told
        ]
        seen.states += [state] if [state] != seen.states[-1:] else []
        return state == APPEARING[-1]

    async def answers(statuses: list[int], method: str, body: Any = None) -> bool:
        status = (await api.ask(method, place, body)).status
        statuses += [status] if [status] != statuses[-1:] else []
        return status < 300

    async def noted(moment: str, there: Callable[[], Awaitable[bool]]) -> None:
        await eventually(there, interval=0.02)
        seen.after[moment] = time.monotonic() - began

    await asyncio.gather(noted("Established", established), noted("listed", lambda: answers(seen.listed, "GET")))
    await noted("made", lambda: answers(seen.made, "POST", cloud))
    await api.must("DELETE", f"{CRDS}/clouds.{group}")
    return seen


async def test_names_that_are_taken(twins: Twins) -> None:
    """By another kind of the same group, short names included; the loser says so and is not served."""

    async def scenario(api: Api) -> Any:
        seen = []
        await api.must("POST", CRDS, crd("taken.test", "firsts", kind="First", shortNames=["fi"], singular="first"))
        await api.until("GET", f"{CRDS}/firsts.taken.test", wanted=accepted)
        rivals = [crd("taken.test", "seconds", kind="First", singular="second"),
                  crd("taken.test", "thirds", kind="Third", shortNames=["fi"]),
                  crd("taken.test", "fourths", kind="Fourth", singular="first"),
                  crd("elsewhere.taken.test", "firsts", kind="First", shortNames=["fi"])]  # fmt: skip
        for rival in rivals:
            name = rival["metadata"]["name"]
            await api.must("POST", CRDS, rival)
            answer = await api.until("GET", f"{CRDS}/{name}", wanted=accepted)
            if "fourths" not in name:
                plural, _, group = name.partition(".")
                served = await api.ask("GET", f"/apis/{group}/v1/{plural}")
                refused = conditions(answer)["NamesAccepted"].startswith("False")
                seen.append((name, conditions(answer)["NamesAccepted"], served.status if refused else "served or soon"))
        await api.must("DELETE", f"{CRDS}/firsts.taken.test")
        # What was refused its name has it once that is free.
        freed = await api.until(
            "GET", f"{CRDS}/thirds.taken.test", within=40,
            wanted=lambda answer: conditions(answer)["NamesAccepted"].startswith("True"),
        )  # fmt: skip
        seen.append(freed.json["status"]["acceptedNames"])
        for rival in rivals:
            await api.must("DELETE", f"{CRDS}/{rival['metadata']['name']}")
        return seen

    seen = await twins.same(scenario)
    assert [item[1].split()[0] for item in seen[:2]] == ["False", "False"]


async def test_deletion_takes_the_instances_and_waits_for_their_finalizers(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        await api.must("POST", CRDS, crd("going.test", "ghosts", kind="Ghost"))
        place = "/apis/going.test/v1/namespaces/default/ghosts"
        await api.until("GET", place, wanted=ready)
        for name, finalizers in (("free", []), ("held", ["going.test/held"])):
            meta = {"name": name, "finalizers": finalizers}
            await api.must("POST", place, {"apiVersion": "going.test/v1", "kind": "Ghost", "metadata": meta})
        await api.must("DELETE", f"{CRDS}/ghosts.going.test")
        await api.until("GET", f"{place}/free", wanted=lambda answer: answer.status == 404, within=40)
        held = await api.must("GET", f"{place}/held")
        definition = await api.ask("GET", f"{CRDS}/ghosts.going.test")
        late = await api.ask(
            "POST", place, {"apiVersion": "going.test/v1", "kind": "Ghost", "metadata": {"name": "late"}}
        )
        terminating = conditions(definition)["Terminating"]
        await api.must("PATCH", f"{place}/held", {"metadata": {"finalizers": []}}, content_type=MERGE)
        last = await api.until(
            "GET", f"{CRDS}/ghosts.going.test", wanted=lambda answer: answer.status == 404, within=40
        )
        return (
            held["metadata"]["finalizers"],
            definition.json["metadata"]["finalizers"],
            terminating.split()[:2],
            late.said,
            last.said,
        )

    await twins.same(scenario)


async def test_definitions_that_are_wrong(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        base = crd("wrong.test", "errors", kind="Error")
        wrong: list[Any] = [
            base | {"metadata": {"name": "other.wrong.test"}},
            base | {"spec": base["spec"] | {"scope": "World"}},
            base | {"spec": base["spec"] | {"versions": []}},
            base | {"spec": base["spec"] | {"names": {"plural": "errors"}}},
            base | {"spec": base["spec"] | {"conversion": {"strategy": "Other"}}},
            crd("nodots", "errors", kind="Error"),
            crd("wrong.k8s.io", "errors", kind="Error"),
            crd("wrong.test", "errors", kind="Error", versions=[{"name": "v1", "served": True, "storage": True}]),
            crd("wrong.test", "errors", kind="Error", versions=[
                {"name": "v1", "served": True, "storage": True,
                 "schema": {"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "nothing"}}}}}]),
            crd("wrong.test", "errors", kind="Error", versions=[
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-validations": [{"rule": "self.b ==", "message": "m"}]}}}]),
        ]  # fmt: skip
        return [(await api.ask("POST", f"{CRDS}?dryRun=All", body)).said for body in wrong]

    await twins.same(scenario)
