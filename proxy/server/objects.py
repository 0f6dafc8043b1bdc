"""How many objects a workspace may have: what is made is counted where it is made, what there is when it matters.

A worker knows a workspace's `Room`, from the last count and from what workers of this kcp have made since. While there
is room, a request costs the look at a few numbers. Where three quarters of it are used up the workspace is counted
anew, behind the requests; where none is left, a request waits for that, gives back its seat at the shard meanwhile, and
is refused if there is none left indeed. Nobody is exempt but the administrator of the whole kcp; what kcp's own
controllers make does not come this way, and is in the next count.

Several kcps before one shard do not know what the others make. Each takes its part of what a count has left, and no
more than a hundredth of the limit from one count to the next.

What may come through beyond the limit: what the workspace has under way at that moment; for each further kcp before the
shard, and for one that was started anew, a hundredth of the limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.kube.flights import Flights
from proxy.limits.room import Room
from proxy.mapping.paths import RequestInfo
from proxy.server.admission import OBJECTS, Admission
from proxy.server.counting import Counter
from proxy.server.creations import Creations
from proxy.server.messages import Request
from proxy.server.quota import applies, exceeded
from proxy.server.replies import moving
from proxy.tenancy.index import DEPARTED, Workspace, WorkspaceIndex

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds that a request waits for a count."""
MOST_WAITS = 3
"""Of a request, if others take the room that was found."""
MOST_WAITING = 512
"""Requests of a workspace that do; what their bodies take is counted as of any under way."""
AGAIN = 2.0
"""Seconds after a count that found no room, or failed, in which what it said stands."""
COME_WITH = {
    ("", "namespaces"): 3,
    ("tenancy.kcp.dev", "workspaces"): 2,
    ("tenancy.kcp.dev", "clusterworkspaces"): 2,
}
"""Objects that come of one, with what controllers make for it at once: a service account and a bundle of authorities;
the other of the pair (the owner's role and binding, made when somebody looks, are in the next count)."""


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    generate_name: str = ""


class _Object(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_decoder = msgspec.json.Decoder(_Object)


def may_make(request: Request, info: RequestInfo) -> bool:
    """Whether an object may come of it that was not there."""
    if info.subresource or info.resource.endswith("reviews"):
        return False
    return info.verb in ("create", "update") or applies(request, info)


class ObjectLimit:
    """Of one worker. It is an `Observer` of requests."""

    def __init__(
        self,
        index: WorkspaceIndex,
        admission: Admission,
        creations: Creations,
        counter: Counter,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``workers`` of this kcp."""
        self._index = index
        self._admission = admission
        self._creations = creations
        self._counter = counter
        self._workers = workers
        self._clock = clock
        self._rooms: dict[str, Room] = {}
        """By token. None is forgotten while its workspace is there: what was made is not known elsewhere."""
        self._flights: Flights[str, None] = Flights()
        self._waiting: dict[str, int] = {}
        self._behind: dict[str, asyncio.Task[None]] = {}
        self.counts = {"done": 0, "failed": 0}
        index.add_listener(self._changed)

    def _changed(self, workspace: Workspace, exists: bool) -> None:
        if not exists:
            self._rooms.pop(workspace.token, None)

    def enter(
        self, request: Request, info: RequestInfo, workspace: Workspace, user: User, target: bytes, *, waited: int
    ) -> Awaitable[None] | None:
        """Of a request that `may_make` an object, mapped to ``target``: None if it may go on, else to be awaited first;
        what was decided meanwhile is to be decided anew (``waited``: so many times). Raises StatusError 403, or 503
        where it is not known how many there are; so does the awaitable."""
        room = self._room(workspace)
        if not room.limit:
            return None
        if ("dryRun", "All") not in info.query:
            request.making = room.slot, COME_WITH.get((info.group, info.resource), 1)
        if user.masters:
            return None
        left = self._left(room)
        if left > 0:
            if room.is_low(left, self._workers) and self._may_count(room):
                self._count_behind(workspace, room)
            return None
        if waited and info.verb != "create":
            return None
        if waited and (waited >= MOST_WAITS or not self._may_count(room)):
            raise self._refused(request, info, room)
        if request.slot is not None:
            request.slot.free()
        return self._wait(request, info, workspace, room, target)

    def _room(self, workspace: Workspace) -> Room:
        room = self._rooms.get(workspace.token)
        if room is None:
            slot = self._creations.slot(workspace.token)
            room = self._rooms[workspace.token] = Room(workspace.path, slot, self._creations.made(slot))
        if room.version != self._admission.version:
            room.version = self._admission.version
            room.limit = self._admission.limits_of(workspace.path).objects
        return room

    def _left(self, room: Room) -> int:
        return room.left(self._creations.made(room.slot), self._workers)

    def _has_moved(self, workspace: Workspace) -> bool:
        """Whether it has moved away from where ``workspace`` says: what it had there is removed."""
        now = self._index.by_token(workspace.token)
        return now is not None and (now.shard != workspace.shard or now.stage == DEPARTED)

    def _may_count(self, room: Room) -> bool:
        return not (room.full or room.failure) or self._clock() - room.at >= AGAIN

    async def _wait(self, request: Request, info: RequestInfo, workspace: Workspace, room: Room, target: bytes) -> None:
        if info.verb != "create" and await self._counter.holds(workspace.shard, target):
            return
        token = workspace.token
        waiting = self._waiting.get(token, 0)
        if self._may_count(room) and waiting < MOST_WAITING:
            self._waiting[token] = waiting + 1
            try:
                async with asyncio.timeout(PATIENCE):
                    # What a count that was under way already has found may be used up when it is done.
                    while self._left(room) <= 0 and self._may_count(room) and not self._has_moved(workspace):
                        await self._counted(workspace, room)
            except TimeoutError:
                pass  # others are counted before it
            finally:
                self._waiting[token] -= 1
                if not self._waiting[token]:
                    del self._waiting[token]
        if self._left(room) <= 0:
            raise moving(workspace.path) if self._has_moved(workspace) else self._refused(request, info, room)

    def _count_behind(self, workspace: Workspace, room: Room) -> None:
        token = workspace.token
        if token not in self._behind:
            task = asyncio.get_running_loop().create_task(self._counted(workspace, room))
            self._behind[token] = task
            task.add_done_callback(lambda _: self._behind.pop(token))

    async def _counted(self, workspace: Workspace, room: Room) -> None:
        await self._flights.once(workspace.token, lambda: self._count(workspace, room))

    async def _count(self, workspace: Workspace, room: Room) -> None:
        async with self._counter.turn(workspace.shard):
            self._creations.look()
            base = self._creations.made(room.slot)
            try:
                found, workers = await asyncio.gather(
                    self._counter.objects(workspace), self._counter.workers(workspace.shard)
                )
                if self._has_moved(workspace):
                    return
            except StatusError as error:
                log.warning("objects of workspace %s: %s", workspace.path, error)
                room.failure = error.message
                self.counts["failed"] += 1
            else:
                room.count_is(found, base, self._workers, workers)
                self.counts["done"] += 1
            room.at = self._clock()

    def _refused(self, request: Request, info: RequestInfo, room: Room) -> StatusError:
        request.making = None
        if room.failure or room.counted is None or room.used(self._creations.made(room.slot)) < room.limit:
            why = room.failure or "others are counted before"
            message = f"it is not known how many objects workspace {room.path} has: {why}"
            return StatusError(503, message, details={"retryAfterSeconds": 1})
        self._admission.rejected[OBJECTS] += 1
        name = info.name or _name_in(request.body)
        return exceeded(info, name, room.path, f"objects={room.told()}", f"objects={room.limit}")

    def known(self) -> Iterable[tuple[str, int, int]]:
        """Path, objects and limit of the workspaces that were counted."""
        for room in self._rooms.values():
            if room.counted is not None:
                yield room.path, room.used(self._creations.made(room.slot)), room.limit

    # Observer

    def arrived(self, request: Request) -> None:
        pass

    def decided(self, request: Request) -> None:
        pass

    def streaming(self, request: Request) -> None:
        pass

    def finished(self, request: Request) -> None:
        making = request.making
        if making is not None:
            status = request.record.status
            # Whoever does not wait for the answer, or gets none, may have made one as well.
            if status == 201 or status >= 500 or not status:
                self._creations.add(*making)

    def malformed(self, status: int) -> None:
        pass


def _name_in(body: bytes) -> str:
    """As it is in an object of JSON; empty where that cannot be told."""
    try:
        meta = _decoder.decode(body).metadata
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return meta.name or meta.generate_name
