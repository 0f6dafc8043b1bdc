"""ResourceQuota, LimitRange, events and leases."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from tests.clients import same
from tests.e2e.workspaces.twins import CRDS, DEFAULT, Answer, Api, Twins
from tests.integration.eventually import eventually

MERGE = "application/merge-patch+json"

NAMESPACES = "/api/v1/namespaces"


async def test_quotas_count_native_and_own_kinds(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        names = {"plural": "coins", "kind": "Coin"}
        spec = {"group": "quota.test", "scope": "Namespaced", "names": names, "versions": [version]}
        await api.ask("POST", CRDS, {"metadata": {"name": "coins.quota.test"}, "spec": spec})
        await api.must("POST", NAMESPACES, {"metadata": {"name": "quota"}})
        place = f"{NAMESPACES}/quota"
        await api.until("GET", f"{place}/serviceaccounts/default", wanted=lambda answer: answer.status == 200)
        await api.until("GET", f"{place}/configmaps/kube-root-ca.crt", wanted=lambda answer: answer.status == 200)
        hard = {"configmaps": "2", "count/coins.quota.test": "1", "count/secrets": "1", "secrets": "1"}
        quota = await api.must("POST", f"{place}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
        coins = "/apis/quota.test/v1/namespaces/quota/coins"

        turns = itertools.cycle(("2", "1"))

        async def counted() -> Any:
            # A controller that has not heard of the kind yet looks again when the quota changes, or minutes later.
            patch = {"spec": {"hard": {"secrets": next(turns)}}}
            await api.must("PATCH", f"{place}/resourcequotas/q", patch, content_type=MERGE)
            await asyncio.sleep(0.5)
            now = await api.must("GET", f"{place}/resourcequotas/q")
            return now if set(now["status"].get("used", ())) == set(hard) and now["status"]["hard"] == hard else None

        seen = [quota["spec"], (await eventually(counted, timeout=80))["status"]]
        refused = []
        for path, kind in ((coins, "Coin"), (f"{place}/configmaps", "ConfigMap"), (f"{place}/secrets", "Secret")):
            group = "quota.test/v1" if kind == "Coin" else "v1"
            for n in range(2):
                body = {"apiVersion": group, "kind": kind, "metadata": {"name": f"x-{n}"}}
                answer = await api.until("POST", path, body, wanted=lambda answer: answer.status != 404)
                refused.append(answer.said if answer.status >= 400 else answer.status)

        def full(answer: Answer) -> bool:
            return bool(answer.json["status"]["used"] == hard)

        seen.append((await api.until("GET", f"{place}/resourcequotas/q", wanted=full, within=40)).json["status"])
        await api.must("DELETE", f"{coins}/x-0")

        def freed(answer: Answer) -> bool:
            return bool(answer.json["status"]["used"]["count/coins.quota.test"] == "0")

        await api.until("GET", f"{place}/resourcequotas/q", wanted=freed, within=40)
        wrong = {"metadata": {"name": "bad"}, "spec": {"hard": {"pods": "1"}, "scopes": ["NoSuchScope"]}}
        refused.append((await api.ask("POST", f"{place}/resourcequotas", wrong)).said)
        scoped = {"hard": {"pods": "1"}, "scopes": ["BestEffort"], "scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}  # fmt: skip
        seen.append(await api.must("POST", f"{place}/resourcequotas", {"metadata": {"name": "s"}, "spec": scoped}))
        await api.must("DELETE", place)
        return same.obj(seen), refused

    await twins.same(scenario)


async def test_limit_ranges_are_defaulted_and_checked(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        limits = [{"type": "Container", "max": {"cpu": "2"}, "default": {"cpu": "1"}}]
        path = f"{DEFAULT}/limitranges"
        seen = [await api.must("POST", path, {"metadata": {"name": "l"}, "spec": {"limits": limits}})]
        bad = await api.ask("POST", path, {"metadata": {"name": "m"}, "spec": {"limits": [
            {"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}})  # fmt: skip
        await api.must("DELETE", f"{path}/l")
        return same.obj(seen), bad.said

    await twins.same(scenario)


async def test_events_of_both_groups_are_the_same_objects(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        about = {"kind": "ConfigMap", "namespace": "default", "name": "thing", "apiVersion": "v1", "uid": "u"}
        old = {"metadata": {"name": "old"}, "involvedObject": about, "reason": "Tried", "message": "m",
               "type": "Normal", "firstTimestamp": "2026-01-01T00:00:00Z",
               "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1}  # fmt: skip
        new = {"metadata": {"name": "new"}, "regarding": about, "reason": "Tried", "note": "n", "type": "Warning",
               "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "twins.test/c", "action": "Do",
               "reportingInstance": "i"}  # fmt: skip
        core, events = f"{DEFAULT}/events", "/apis/events.k8s.io/v1/namespaces/default/events"
        await api.must("POST", core, old)
        await api.must("POST", events, new)
        seen = [await api.must("GET", f"{where}/{name}") for where in (core, events) for name in ("old", "new")]
        for item in seen:
            item.pop("deprecatedSource", None)
        selectors = ("involvedObject.name=thing", "involvedObject.namespace=default", "reason=Tried", "type=Warning",
                     "involvedObject.kind=ConfigMap", "involvedObject.namespace=other", "involvedObject.uid=u",
                     "metadata.namespace=default", "source=x", "reportingComponent=twins.test/c")  # fmt: skip
        for selector in selectors:
            for where in (core, "/api/v1/events"):
                found = await api.must("GET", f"{where}?fieldSelector={selector}")
                names = [item["metadata"]["name"] for item in found["items"]]
                seen.append((selector, [name for name in names if name in ("old", "new")]))
        wrong = await api.ask(
            "POST", core, old | {"metadata": {"name": "x"}, "involvedObject": {**about, "namespace": "y"}}
        )
        for name in ("old", "new"):
            await api.must("DELETE", f"{core}/{name}")
        return same.obj(seen), wrong.said

    await twins.same(scenario)


async def test_events_about_what_has_no_namespace(twins: Twins) -> None:
    """They stand in default, and in a workspace say so: the shard would have them in a default of nobody."""

    async def scenario(api: Api) -> Any:
        about = {"kind": "Namespace", "name": "default", "apiVersion": "v1", "uid": "u"}
        body = {"metadata": {"name": "scoped"}, "involvedObject": about, "reason": "Tried", "message": "m"}
        made = await api.must("POST", f"{DEFAULT}/events", body)
        found = await api.must("GET", f"{DEFAULT}/events?fieldSelector=involvedObject.kind%3DNamespace")
        await api.must("DELETE", f"{DEFAULT}/events/scoped")
        assert made["involvedObject"].pop("namespace", "default") == "default"
        return same.obj(made), len(found["items"])

    await twins.same(scenario)


async def test_leases(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
        spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
        made = await api.must("POST", path, {"metadata": {"name": "twins"}, "spec": spec})
        taken = made | {"spec": {**spec, "holderIdentity": "b", "leaseTransitions": 1}}
        now = await api.must("PUT", f"{path}/twins", taken)
        late = await api.ask("PUT", f"{path}/twins", taken)
        bad = await api.ask("POST", path, {"metadata": {"name": "bad"}, "spec": {"leaseDurationSeconds": 0}})
        await api.must("DELETE", f"{path}/twins")
        return same.obj([made, now]), late.said, bad.said

    await twins.same(scenario)
