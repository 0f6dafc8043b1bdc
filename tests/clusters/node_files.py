"""Configuration files of a node's programs: pure functions from a spec to their content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from proxy.shard.pki import KeyPair
from tests.clusters.spec import Spec
from tests.images import PAUSE

SOCKET = "/run/containerd/containerd.sock"
POD_RANGE = "10.232.0.0/16"
SERVICE_RANGE = "10.233.0.0/16"
"""The same in every cluster: they lie in network namespaces of their own."""


def containerd(spec: Spec, *, plugins: Path, snapshotter: str) -> str:
    """``containerd.toml``, version 2 of the format, which containerd 1.6 to 2 read."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{SOCKET}"
[{cri}]
  sandbox_image = "{PAUSE}"
  # Without CAP_SYS_RESOURCE nobody may lower oom_score_adj.
  restrict_oom_score_adj = true
  [{cri}.cni]
    bin_dir = "{plugins}"
    conf_dir = "{spec.node_folder}/cni"
  [{cri}.containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def pod_network() -> str:
    """CNI: a bridge inside the node; what leaves the node does so under its address."""
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]},
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]})


def kubelet(spec: Spec, *, serving: KeyPair, client_ca: Path) -> str:
    """KubeletConfiguration: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/."""
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": spec.address,
            "readOnlyPort": 0,
            "tlsCertFile": str(serving.cert_file),
            "tlsPrivateKeyFile": str(serving.key_file),
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(client_ca)},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": f"unix://{SOCKET}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": False,
            "failSwapOn": False,
            "protectKernelDefaults": True,  # it must not turn the machine's own knobs; see node.KNOBS
            "resolvConf": "",
            # This machine's disks are its owner's business: no pod is evicted and no image removed for want of space.
            "evictionHard": {
                "memory.available": "50Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
                "imagefs.inodesFree": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "serializeImagePulls": False,
            "oomScoreAdj": 0,
            "maxOpenFiles": 20000,
        }
    )


def kube_proxy(spec: Spec, *, kubeconfig: Path) -> str:
    """KubeProxyConfiguration: https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/."""
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "clusterCIDR": POD_RANGE,
            "hostnameOverride": spec.node,
            "oomScoreAdj": 0,
            "nodePortAddresses": ["primary"],
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
    )


def kubeconfig(spec: Spec, *, server: str, ca: Path, user: KeyPair) -> dict[str, Any]:
    """For a program on the node."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": spec.name, "cluster": {"server": server, "certificate-authority": str(ca)}}],
        "users": [
            {
                "name": spec.name,
                "user": {"client-certificate": str(user.cert_file), "client-key": str(user.key_file)},
            }
        ],
        "contexts": [{"name": spec.name, "context": {"cluster": spec.name, "user": spec.name}}],
        "current-context": spec.name,
    }


def _yaml(value: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False)
    return text
