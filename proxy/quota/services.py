"""What a Service takes: after ``k8s.io/kubernetes/pkg/quota/v1/evaluator/core/services.go``."""

from __future__ import annotations

import datetime

from proxy.quota.quantity import NOTHING, Amounts, count
from proxy.quota.scopes import Object

COUNTS = frozenset({"count/services", "services"})
NODE_PORTS = "services.nodeports"
LOAD_BALANCERS = "services.loadbalancers"


def matches(key: str) -> bool:
    return key in COUNTS or key in (NODE_PORTS, LOAD_BALANCERS)


def usage(service: Object, now: datetime.datetime) -> Amounts:
    spec = service["spec"]
    ports, kind = spec.get("ports") or [], spec.get("type")
    balanced = kind == "LoadBalancer"
    if balanced and spec.get("allocateLoadBalancerNodePorts") is False:
        ports = [port for port in ports if port.get("nodePort")]
    return {
        **dict.fromkeys(COUNTS, count(1)),
        LOAD_BALANCERS: count(1) if balanced else NOTHING,
        NODE_PORTS: count(len(ports)) if balanced or kind == "NodePort" else NOTHING,
    }
