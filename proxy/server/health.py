"""``/healthz``, ``/livez`` and ``/readyz``: of the worker, and of a workspace."""

from __future__ import annotations

from collections.abc import Callable

from proxy.mapping.paths import RequestInfo
from proxy.server.messages import Reply
from proxy.server.replies import text
from proxy.tenancy.index import WorkspaceIndex

HEALTH = frozenset({"/healthz", "/livez", "/readyz"})


class Health:
    """Of one worker. ``unready()`` says in a line what keeps it from serving, or gives None."""

    def __init__(self, index: WorkspaceIndex, unready: Callable[[], str | None]) -> None:
        self._index = index
        self._unready = unready

    def reply(self, target: bytes) -> Reply | None:
        """None where something else is asked for."""
        plain, _, query = target.partition(b"?")
        path = plain.decode("latin-1")
        if path not in HEALTH:
            return None
        problem = self._unready() if path == "/readyz" else None
        if query.startswith(b"verbose"):
            return text(503 if problem else 200, self._verbose(path[1:], problem))
        return text(503, f"not ready: {problem}\n") if problem else text(200, "ok")

    def _verbose(self, check: str, problem: str | None) -> str:
        """In the form of a kube-apiserver's. A shard that is down shows; only what keeps all workspaces from being
        served makes the check fail."""
        lines = ["[+]ping ok"]
        if check == "readyz":
            away = set(self._index.missing_shards())
            lines += [
                f"[-]shard-{shard} failed: it cannot be followed, and its own workspaces may answer 503"
                if shard in away
                else f"[+]shard-{shard} ok"
                for shard in self._index.shards
            ]
            lines.append(f"[-]workspaces failed: {problem}" if problem else "[+]workspaces ok")
        lines.append(f"{check} check {'failed' if problem else 'passed'}\n")
        return "\n".join(lines)


def health_of_workspace(info: RequestInfo) -> Reply | None:
    """A workspace that can be asked is healthy: there is no part of it that could be ill by itself."""
    name, _, check = info.path[1:].partition("/")
    if f"/{name}" not in HEALTH or check not in ("", "ping"):
        return None
    if any(key == "verbose" for key, _ in info.query) and not check:
        return text(200, f"[+]ping ok\n{name} check passed\n")
    return text(200, "ok")
