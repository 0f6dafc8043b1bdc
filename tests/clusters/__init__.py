"""Physical clusters for tests and demo, on this machine alone: ``python -m tests.clusters up a b``.

Each is a whole Kubernetes: etcd, kube-apiserver, controller-manager and scheduler, with one node. Where root and
control groups allow, the node is real (containerd, runc, kubelet, kube-proxy) and the cluster has a network namespace
of its own; elsewhere KWOK plays the node, and the reason is said. A cluster is run by one process of its own, the
keeper, with whose end everything else of it ends; what the kernel keeps beyond (a bridge, control groups) is removed
by name.

kind can make them instead (`tests.clusters.kind`), where Docker runs.
"""

from tests.clusters.cluster import PhysicalCluster
from tests.clusters.errors import ClusterError
from tests.clusters.provider import Cluster

__all__ = ["Cluster", "ClusterError", "PhysicalCluster"]
