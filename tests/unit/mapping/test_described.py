"""``kubectl describe`` tells no default strategy of a Deployment, wherever its bytes are cut; nobody else is kept
anything from."""

from __future__ import annotations

import orjson
import pytest

from proxy.mapping.described import Described, is_described
from proxy.mapping.paths import parse

DEFAULT = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
OTHERS = (
    {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 1}}, {"type": "Recreate"},
)  # fmt: skip
DEPLOYMENT = b"/apis/apps/v1/namespaces/default/deployments/a"


def deployment(strategy: object) -> dict[str, object]:
    quoted = orjson.dumps({"x": 1, "strategy": DEFAULT}).decode()
    spec = {"replicas": 1, "template": {}, "strategy": strategy, "revisionHistoryLimit": 10}
    return {"kind": "Deployment", "metadata": {"annotations": {"last-applied": quoted}}, "spec": spec}


@pytest.mark.parametrize("size", [1, 2, 3, 50, 98, 100_000])
def test_the_default_alone_is_left_out(size: int) -> None:
    items = [deployment(strategy) for strategy in (DEFAULT, *OTHERS, DEFAULT)]
    data = orjson.dumps({"kind": "DeploymentList", "items": items})
    filtered = Described()
    made = b"".join(filtered.feed(data[at : at + size]) for at in range(0, len(data), size)) + filtered.flush()
    for item in (items[0], items[-1]):
        spec = item["spec"]
        assert isinstance(spec, dict)
        del spec["strategy"]
    assert orjson.loads(made)["items"] == items


@pytest.mark.parametrize(
    ("method", "target", "command", "told"),
    [
        (b"GET", DEPLOYMENT, b"kubectl describe", True),
        (b"GET", DEPLOYMENT.rpartition(b"/")[0], b"kubectl describe", True),
        (b"GET", DEPLOYMENT, b"kubectl get", False),
        (b"GET", DEPLOYMENT, b"", False),
        (b"GET", DEPLOYMENT + b"/status", b"kubectl describe", False),
        (b"GET", DEPLOYMENT.rpartition(b"/")[0] + b"?watch=1", b"kubectl describe", False),
        (b"PUT", DEPLOYMENT, b"kubectl describe", False),
        (b"GET", b"/apis/apps/v1/namespaces/default/daemonsets/a", b"kubectl describe", False),
    ],
)
def test_who_is_told_so(method: bytes, target: bytes, command: bytes, told: bool) -> None:
    assert is_described(parse(method, target), command) is told
