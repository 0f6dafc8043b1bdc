"""Where namespaces run: labels on them, and a condition that says whether it worked out (docs/workloads.md).

What is decided and how a namespace gets there is pure (`decision`, `moves`); what stands in the namespace gets the same
label (`labels`).
"""

from __future__ import annotations

import datetime
from asyncio import TaskGroup
from collections import defaultdict
from typing import Any, NamedTuple

from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.selectors import selects
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import LABEL, token_of
from proxy.workload.api import (
    NAMESPACES,
    OPT_OUT,
    PLACEMENTS,
    READY,
    conditions_of,
    is_true,
    not_there,
    now,
    with_condition,
)
from proxy.workload.decision import NOWHERE, Decision, Rule, decide, rule_of
from proxy.workload.events import tell
from proxy.workload.holds import changed, held_by, holds
from proxy.workload.labels import Labels
from proxy.workload.moves import PATIENCE, SEVERAL, Where, describe, step, where, written
from proxy.workload.summaries import Summaries

SCHEDULED = "NamespaceScheduled"
SOON = 0.5
"""Seconds in which changes of what a Placement's status counts are collected."""
DEFAULT = Rule()


class Chosen(NamedTuple):
    """Of one namespace."""

    placement: str
    """On the shard; empty for none."""
    clusters: tuple[str, ...]


class Placement:
    """One shard's namespaces. ``clusters``: its WorkloadClusters, followed by somebody else."""

    def __init__(self, client: Client, clusters: Informer, *, patience: datetime.timedelta = PATIENCE) -> None:
        self._client = client
        self._clusters = clusters
        self._patience = patience
        self._namespaces = Informer(client, NAMESPACES, label_selector=LABEL, transform=_slim)
        self._placements = Informer(client, PLACEMENTS)
        objects = Identity.OBJECTS.on(client)
        self._summaries = Summaries(objects, self._involved)
        self._labels = Labels(objects, self._summaries)
        self._clusters_of: dict[str, dict[str, Object]] = defaultdict(dict)
        """Token → plain name → WorkloadCluster."""
        self._placements_of: dict[str, dict[str, Object]] = defaultdict(dict)
        """Token → plain name → Placement."""
        self._namespaces_of: dict[str, set[str]] = defaultdict(set)
        """Token → names on the shard."""
        self._chosen: dict[str, Chosen] = {}
        """By the namespace's name on the shard."""
        self.queue: WorkQueue[str] = WorkQueue(self._reconcile, name="namespaces", workers=4, dated=True)
        self._counted: WorkQueue[str] = WorkQueue(self._count, name="placements", workers=1)
        """Placements whose status may have changed."""
        clusters.add_handler(self._cluster_event)
        self._placements.add_handler(self._placement_event)
        self._namespaces.add_handler(self._namespace_event)

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskGroup() as group:
            for part in (self._namespaces, self._placements, self._labels, self._summaries):
                group.create_task(part.run())
            # Nothing is decided on half a picture: a cluster that is not known yet would be taken for deleted.
            for informer in (self._clusters, self._placements, self._namespaces, self._labels):
                await informer.wait_synced()
            group.create_task(self.queue.run())
            group.create_task(self._counted.run())

    def _cluster_event(self, kind: str, old: Object | None, new: Object) -> None:
        token, _, name = new["metadata"]["name"].partition("-")
        if kind == "DELETED":
            self._clusters_of[token].pop(name, None)
        else:
            self._clusters_of[token][name] = new
        if kind == "DELETED" or old is None or _matters(old) != _matters(new):
            self._add_all(token)
        elif arrived(old) != arrived(new):
            for namespace in arrived(new):
                self.queue.add(f"{token}-{namespace}")

    def _placement_event(self, kind: str, old: Object | None, new: Object) -> None:
        token, _, name = new["metadata"]["name"].partition("-")
        if kind == "DELETED":
            self._placements_of[token].pop(name, None)
        else:
            self._placements_of[token][name] = new
            self._counted.add_after(new["metadata"]["name"], SOON)
        if kind == "DELETED" or old is None or old.get("spec") != new.get("spec"):
            self._add_all(token)

    def _add_all(self, token: str) -> None:
        for namespace in self._namespaces_of[token]:
            self.queue.add(namespace)

    def _namespace_event(self, kind: str, old: Object | None, new: Object) -> None:
        name = new["metadata"]["name"]
        token = token_of(name)
        if token is None:
            return
        if kind == "DELETED":
            self._namespaces_of[token].discard(name)
            self._labels.forget(name)
            self._choose(name, None)
        else:
            self._namespaces_of[token].add(name)
            self.queue.add(name)
            if old is not None and _labels(old) != _labels(new):
                self._summaries.look_again(name)

    def _involved(self, namespace: str) -> dict[str, str]:
        """Clusters that a namespace has to do with, and how."""
        obj = self._namespaces.store.get(("", namespace))
        there = where(_labels(obj), {}) if obj is not None else Where()
        return there.states

    async def _reconcile(self, name: str) -> float | None:
        namespace = self._namespaces.store.get(("", name))
        token = token_of(name)
        if namespace is None or token is None or namespace["metadata"].get("deletionTimestamp"):
            self._choose(name, None)
            return None
        labels, annotations = _labels(namespace), namespace["metadata"].get("annotations") or {}
        before = where(labels, annotations)
        clusters = self._clusters_of[token]
        if not clusters and before.label is None and not conditions_of(namespace):
            return None  # of a workspace that has never had anything to do with clusters
        moment = now()
        # Of what is known: a decision on an old picture would begin a move anew.
        version = {"resourceVersion": namespace["metadata"]["resourceVersion"]}
        if OPT_OUT in labels:
            self._choose(name, None)
            held, again = holds(before.sync, clusters, DEFAULT.not_ready, moment)
            noted = changed(annotations, held)
            if noted and not await self._patch(name, {"metadata": {"annotations": noted, **version}}):
                return None
            await self._labels.follow(name, before.label)
            return again
        placement, rule = self._rule(token, labels)
        decision = decide(rule, clusters, before.sync, moment, lambda cluster: self._load(token, cluster))
        self._choose(name, Chosen(f"{token}-{placement}" if placement else "", decision.clusters))
        plain = name.removeprefix(f"{token}-")
        after, again = step(
            before,
            decision.clusters,
            [each for each, obj in clusters.items() if not obj["metadata"].get("deletionTimestamp")],
            moment,
            arrived=lambda cluster, move: arrived(clusters.get(cluster)).get(plain) == move,
            ready=lambda cluster: cluster in clusters and is_true(clusters[cluster], READY),
            patience=self._patience,
        )
        if after.label == SEVERAL:
            self._summaries.want(token)
        patch = written(after, labels, annotations, rule.replicas)
        held, expected = holds(after.sync, clusters, rule.not_ready, moment)
        noted = changed(annotations, held)
        if noted:
            patch["annotations"] = patch.get("annotations", {}) | noted
        if patch and not await self._patch(name, {"metadata": {**patch, **version}}):
            return None
        told = describe(before, after)
        if told is not None:
            why = decision.why.get(next((each for each in before.sync if each not in after.sync), ""), "")
            reason = f" It {why}." if why and after.move else ""
            await self._tell(namespace, told[0], told[1] + reason)
        await self._labels.follow(name, after.label)
        # Last: a condition that is there tells, after a restart, that objects may still carry a label.
        await self._say(namespace, after, decision, rule)
        return min((each for each in (again, expected, decision.again) if each is not None), default=None)

    def _rule(self, token: str, labels: dict[str, str]) -> tuple[str, Rule]:
        """The Placement that counts for a namespace with such labels, empty for none, and what it says."""
        fit = [
            (obj["metadata"].get("creationTimestamp", ""), name)
            for name, obj in self._placements_of[token].items()
            if not obj["metadata"].get("deletionTimestamp")
            and selects((obj.get("spec") or {}).get("namespaceSelector"), labels)
        ]
        if not fit:
            return "", DEFAULT
        name = min(fit)[1]
        return name, rule_of(self._placements_of[token][name], name)

    def _load(self, token: str, cluster: str) -> int:
        """How many namespaces are to run there."""
        chosen = (self._chosen.get(name) for name in self._namespaces_of[token])
        return sum(each is not None and cluster in each.clusters for each in chosen)

    def _choose(self, name: str, chosen: Chosen | None) -> None:
        before = self._chosen.get(name)
        if before == chosen:
            return
        if chosen is None:
            del self._chosen[name]
        else:
            self._chosen[name] = chosen
        for placement in {each.placement for each in (before, chosen) if each is not None} - {""}:
            self._counted.add_after(placement, SOON)

    async def _count(self, placement: str) -> None:
        """The status of a Placement."""
        obj = self._placements.store.get(("", placement))
        token = token_of(placement)
        if obj is None or token is None:
            return
        chosen = [each for name in self._namespaces_of[token] if (each := self._chosen.get(name))]
        mine = [each for each in chosen if each.placement == placement]
        status = {"namespaces": len(mine), "clusters": sorted({name for each in mine for name in each.clusters})}
        if obj.get("status") == status:
            return
        with not_there():
            await self._client.patch(PLACEMENTS, placement, {"status": status}, subresource="status")

    async def _say(self, namespace: Object, after: Where, decision: Decision, rule: Rule) -> None:
        """The namespace's condition; nothing is written where nothing changes."""
        before = conditions_of(namespace)
        reason, message = condition(after, decision, rule)
        conditions = with_condition(before, SCHEDULED, bool(after.sync), reason, message)
        if conditions == before:
            return
        mine = [item for item in conditions if item["type"] == SCHEDULED]
        if not after.sync and not any(item["reason"] == reason for item in before):
            await self._tell(namespace, reason, message, warning=True)
        await self._patch(namespace["metadata"]["name"], {"status": {"conditions": mine}}, "status")

    async def _tell(self, namespace: Object, reason: str, message: str, *, warning: bool = False) -> None:
        meta = namespace["metadata"]
        subject = {"apiVersion": "v1", "kind": "Namespace", "name": meta["name"], "uid": meta["uid"]}
        await tell(self._client, subject, meta["name"], reason, message, warning=warning)

    async def _patch(self, name: str, patch: Object, subresource: str | None = None) -> bool:
        """Whether the namespace was there."""
        try:
            await self._client.patch(NAMESPACES, name, patch, kind="strategic", subresource=subresource)
        except StatusError as error:
            if error.code != 404:
                raise
            return False
        return True


def condition(after: Where, decision: Decision, rule: Rule) -> tuple[str, str]:
    """Reason and message of `SCHEDULED`."""
    by = f" by Placement {rule.name}" if rule.name else ""
    if not after.sync:
        return "Unschedulable", " ".join(part for part in (NOWHERE, decision.reasons()) if part)
    if after.move:
        stays = f", stays on {' and '.join(after.leave)} until then" if after.leave else ""
        return "Moving", f"Comes to {' and '.join(after.sync)}{by}{stays}."
    message = f"Runs on {' and '.join(after.sync)}{by}."
    if decision.short:
        return "NoBetterCluster", " ".join(
            part for part in (message, f"{rule.number} asked for;", decision.reasons()) if part
        )
    return "Scheduled", message


def arrived(cluster: Object | None) -> dict[str, str]:
    """Plain names of namespaces that have come to a cluster, with the move that brought them."""
    found: dict[str, str] = ((cluster or {}).get("status") or {}).get("arrived") or {}
    return found


def _matters(cluster: Object) -> tuple[Any, ...]:
    """The part of a cluster that placement looks at; heartbeats are not in it."""
    spec, meta = cluster.get("spec") or {}, cluster["metadata"]
    ready = [
        (item["status"], item.get("lastTransitionTime")) for item in conditions_of(cluster) if item["type"] == READY
    ]
    return (
        ready,
        bool(spec.get("unschedulable")),
        spec.get("evictAfter"),
        held_by(cluster),
        meta.get("labels"),
        meta.get("deletionTimestamp"),
    )


def _labels(namespace: Object) -> dict[str, str]:
    found: dict[str, str] = namespace["metadata"].get("labels") or {}
    return found


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    names = ("name", "uid", "labels", "annotations", "deletionTimestamp", "resourceVersion")
    conditions = [item for item in conditions_of(obj) if item["type"] == SCHEDULED]
    return {"metadata": {key: meta[key] for key in names if key in meta}, "status": {"conditions": conditions}}
