"""What ``kubectl describe`` is told of a Deployment: no strategy, where it is the default.

The introduction to kcp that this project follows prints an empty StrategyType: what is rolled out, and how, is seen on
the cluster that runs it. kubectl says which command asks (header ``Kubectl-Command``, KEP 859), so that every other
command and every other client gets what is stored.
"""

from __future__ import annotations

from proxy.mapping.paths import RequestInfo

COMMAND = b"kubectl-command"
_DEFAULT = b',"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":"25%","maxSurge":"25%"}}'
"""As an API server writes it, behind other fields: in a string, each quote would have a backslash."""


def is_described(info: RequestInfo, command: bytes) -> bool:
    """``command``: what the header says."""
    of_deployments = (info.group, info.resource, info.subresource) == ("apps", "deployments", "")
    return of_deployments and info.verb in ("get", "list") and command == b"kubectl describe"


class Described:
    """A filter of such answers: what may be the beginning of a strategy is kept back until more comes."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        data = (self._rest + data).replace(_DEFAULT, b"")
        begun = data.find(b",", max(len(data) - len(_DEFAULT) + 1, 0))
        while begun >= 0 and not _DEFAULT.startswith(data[begun:]):
            begun = data.find(b",", begun + 1)
        keep = begun if begun >= 0 else len(data)
        self._rest = data[keep:]
        return data[:keep]

    def flush(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest
