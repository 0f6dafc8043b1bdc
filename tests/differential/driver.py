"""Plays sequences on both sides and compares each answer."""

from __future__ import annotations

import asyncio
import difflib
import itertools
import string
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.differential.exceptions import known
from tests.differential.ground import CRDS, until
from tests.differential.kinds import OWN
from tests.differential.normalise import Normaliser
from tests.differential.sides import QUIET, Answer, Side, is_watch
from tests.differential.step import WORLD, Memory, Step

AT_REST_WITHIN = 5.0
"""Seconds for the controllers of both sides to have acted; a state that does not come to rest is compared as it is."""
ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Difference:
    """``steps`` lead to it, the last one shows it."""

    steps: tuple[Step, ...]
    plain: tuple[str, ...]
    workspace: tuple[str, ...]

    @property
    def signature(self) -> tuple[str, ...]:
        """Alike differences have the same."""
        return tuple(line[:60] for line in self.changed)[:8]

    def shown(self) -> str:
        changed = difflib.unified_diff(self.plain, self.workspace, "plain", "workspace", lineterm="", n=2)
        return "\n".join([*(step.shown() for step in self.steps), *_brief(list(changed))])

    @property
    def changed(self) -> list[str]:
        """Lines that only one of them has, with ``-`` or ``+`` in front."""
        lines = difflib.unified_diff(self.plain, self.workspace, lineterm="", n=0)
        return [line for line in lines if not line.startswith(("@@", "---", "+++"))]


class Driver:
    def __init__(self, plain: Side, workspace: Side, seed: int) -> None:
        self._sides = (plain, workspace)
        self._names = _world_names(seed)
        self._prepared: asyncio.Task[str] | None = None
        self._cleaning: set[asyncio.Task[None]] = set()
        self.compared = 0
        self.by_status: dict[int, int] = {}
        self.excepted: dict[str, int] = {}

    async def close(self) -> None:
        tasks = [*self._cleaning, *([self._prepared] if self._prepared else [])]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def play(self, steps: Sequence[Step], *, count: bool = True) -> list[Difference]:
        """In a world of its own, until the objects of both sides may not be the same any more."""
        differences: list[Difference] = []
        world = await (self._prepared or self._new_world())
        self._prepared = asyncio.create_task(self._new_world())
        memories = (Memory(world), Memory(world))
        try:
            for number, step in enumerate(steps, 1):
                until = time.monotonic() + (AT_REST_WITHIN if _comes_late(step) else 0)
                quiet = QUIET
                while True:
                    plain, workspace = await self._both(step, memories, quiet)
                    one, other = (
                        _seen(step, answer, side, memory)
                        for answer, side, memory in zip((plain, workspace), self._sides, memories, strict=True)
                    )
                    difference = Difference(tuple(steps[:number]), one, other)
                    exception = known(step, plain, workspace, difference.changed) if one != other else None
                    if one == other or exception is not None or time.monotonic() >= until:
                        break
                    await asyncio.sleep(0.2)
                    quiet *= 3
                if count:
                    self.compared += 1
                    self.by_status[plain.status] = self.by_status.get(plain.status, 0) + 1
                if one == other:
                    continue
                if exception is None:
                    differences.append(difference)
                elif count:
                    self.excepted[exception.name] = self.excepted.get(exception.name, 0) + 1
                if step.method not in ("GET", "HEAD") and min(plain.status, workspace.status) < 400:
                    break
            return differences
        finally:
            task = asyncio.create_task(self._clean(world))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)

    async def _both(self, step: Step, memories: tuple[Memory, Memory], quiet: float) -> tuple[Answer, Answer]:
        body = await self._as_protobuf(step, memories[0]) if step.protobuf else None
        if body is not None:
            headers = [(name, value) for name, value in step.headers if name != "Content-Type"]
            headers.append(("Content-Type", "application/vnd.kubernetes.protobuf"))
            step = Step(step.id, step.method, step.target, tuple(headers), step.body, step.user, step.settle)
        plain, workspace = await asyncio.gather(
            *(side.play(step, memory, body, quiet) for side, memory in zip(self._sides, memories, strict=True))
        )
        if step.settle and plain.status < 300:
            await asyncio.gather(
                *(
                    _at_rest(side, memory.resolve(step.settle))
                    for side, memory in zip(self._sides, memories, strict=True)
                )
            )
        return plain, workspace

    async def _as_protobuf(self, step: Step, memory: Memory) -> bytes | None:
        """As Kubernetes' own serializer writes it: the plain side is asked what it would make of the body."""
        path = step.target.partition("?")[0]
        dry = Step(-1, step.method, f"{path}?dryRun=All",
                   (("Accept", "application/vnd.kubernetes.protobuf"), ("Content-Type", "application/json")),
                   step.body)  # fmt: skip
        answer = await self._sides[0].play(dry, Memory(memory.world, memory.values))
        return answer.body if answer.status < 300 and answer.body.startswith(b"k8s\0") else None

    async def _new_world(self) -> str:
        name = next(self._names)
        await asyncio.gather(*(_make_world(side, name) for side in self._sides))
        return name

    async def _clean(self, world: str) -> None:
        await asyncio.gather(*(_remove_world(side, world) for side in self._sides))


def _comes_late(step: Step) -> bool:
    """Whether servers answer from what they have heard so far, each in its time."""
    return step.late or is_watch(step.target) or "resourceVersion=0" in step.target


def _brief(lines: list[str]) -> list[str]:
    """Long lines cut to where they begin to differ."""
    shown = []
    for at, line in enumerate(lines):
        other = next((near for near in lines[max(0, at - 20) : at + 20] if near[:1] + line[:1] in ("+-", "-+")
                      and near[1:30] == line[1:30]), "")  # fmt: skip
        start = 0
        if len(line) > 300 and other:
            same = next((i for i, (a, b) in enumerate(zip(line[1:], other[1:], strict=False)) if a != b), 0)
            start = max(0, same - 80)
        shown.append(line[:1] + ("…" if start else "") + line[1 + start : 301 + start])
    return shown


def _world_names(seed: int) -> Iterator[str]:
    """All different, and different from those of other seeds, most likely."""
    rng = Random(seed)
    first = rng.randrange(len(ALPHABET) ** (len(WORLD) - 2))
    for number in itertools.count(first):
        digits = []
        for _ in range(len(WORLD) - 1):
            number, digit = divmod(number, len(ALPHABET))
            digits.append(ALPHABET[digit])
        yield "w" + "".join(reversed(digits))


def _seen(step: Step, answer: Answer, side: Side, memory: Memory) -> tuple[str, ...]:
    path, _, query = step.target.partition("?")
    everywhere = step.method in ("GET", "HEAD", "DELETE") and "/namespaces/" not in path
    return (
        Normaliser(side.base, memory, quotas="/resourcequotas" in path)
        .seen(
            answer,
            watch=is_watch(step.target),
            everywhere=everywhere,
            limited="limit=" in query or "continue=" in query,
        )
        .lines
    )


async def _at_rest(side: Side, path: str) -> None:
    """Until what stands at ``path`` is gone, or will not change by itself."""

    async def rests() -> bool:
        answer = await side.get(path)
        if answer.status != 200:
            return not path.startswith(CRDS) or await _serves(side, path.rpartition("/")[2].partition(".")[2]) == []
        found = answer.json()
        meta, status = found.get("metadata", {}), found.get("status") or {}
        if meta.get("deletionTimestamp"):
            return False
        conditions = {item["type"]: item["status"] for item in status.get("conditions") or ()}
        if found["kind"] == "CustomResourceDefinition":
            if conditions.get("NamesAccepted") == "False":
                return True
            wanted = [found["spec"]["scope"]] if any(v["served"] for v in found["spec"]["versions"]) else []
            served = await _serves(side, found["spec"]["group"])
            return conditions.get("Established") == "True" and served == wanted
        if found["kind"] == "Namespace":
            return await _furnished(side, found["metadata"]["name"])
        return True

    try:
        await until(rests, path, AT_REST_WITHIN)
    except TimeoutError:
        return


async def _serves(side: Side, group: str) -> list[str]:
    """In which scopes version v1 of the things of ``group`` can be listed."""
    world = group.partition(".")[0]
    paths = {"Cluster": f"/apis/{group}/v1/things", "Namespaced": f"/apis/{group}/v1/namespaces/{world}a/things"}
    found = [scope for scope, path in paths.items() if (await side.get(path)).status == 200]
    return found[-1:]  # objects of namespaces can be listed over all of them as well


async def _make_world(side: Side, world: str) -> None:
    names = [world + letter for letter in "abq"]
    for name in names:
        await side.send("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": {"world": world}}})
    for name in names:
        await until(partial(_furnished, side, name), f"what controllers make in {name} of {side.name}")


async def _furnished(side: Side, namespace: str) -> bool:
    """Whether controllers have made what each namespace gets."""
    paths = ("serviceaccounts/default", "configmaps/kube-root-ca.crt")
    answers = [await side.get(f"/api/v1/namespaces/{namespace}/{path}") for path in paths]
    return all(answer.status == 200 for answer in answers)


async def _remove_world(side: Side, world: str) -> None:
    """What is left behind would make the next lists longer, no more."""
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for path in (f"{rbac}/clusterrolebindings", f"{rbac}/clusterroles", "/apis/example.com/v1/gadgets"):
        for name in (f"{world}-x", f"{world}-u"):
            await side.send("PATCH", f"{path}/{name}", {"metadata": {"finalizers": None}})
            await side.send("DELETE", f"{path}/{name}")
    group = OWN.replace(WORLD, world)
    for place in ("", f"namespaces/{world}a/", f"namespaces/{world}b/"):
        for name in ("x", "u", "z.1") if place else (f"{world}-x", f"{world}-u"):
            await side.send("PATCH", f"/apis/{group}/v1/{place}things/{name}", {"metadata": {"finalizers": None}})
    await side.send("DELETE", f"{CRDS}/things.{group}")
    for name in (f"{world}a", f"{world}b", f"{world}q", f"{world}-nx", f"{world}-nu"):
        await side.send("DELETE", f"/api/v1/namespaces/{name}")
