"""Command lines of the control-plane programs: pure functions from settings to arguments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proxy.shard.pki import KeyPair, SigningKey

ETCD_SOCKET = "client:0"
"""Unix socket in etcd's folder, named by a relative path: those are limited to 107 bytes, folders are not. The ``:0``
is there because etcd and its clients want the form host:port."""
ETCD_PEER_SOCKET = "peer:0"
ETCD_NAME = "kcp"
"""Of the one member."""

ETCD_QUOTA = 8 * 2**30
"""Bytes: the most that etcd's makers recommend; its default of 2 GiB is soon full."""

ISSUER = "https://kubernetes.default.svc"
"""Issuer of service-account tokens, and the only audience that the API server itself accepts."""

SHARD_CONTROLLERS = (
    "namespace-controller",  # of the shard's own; kcp ends those of workspaces
    "garbage-collector-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    # They take off what admission puts on: without them no claim, volume or attributes class could ever be deleted.
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
    "volumeattributesclass-protection-controller",
)
"""All that a workspace needs; without the others Deployments and the like stay inert. ClusterRoles are aggregated, and
quotas kept, by controllers of ours: Kubernetes' look at all roles of a shard whenever one of them changes, and at all
types."""

SHARD_ADMISSION_OFF = (
    # They look for cluster-wide defaults of one owner, where each workspace has objects of its own.
    "DefaultIngressClass",
    "DefaultStorageClass",
    "Priority",
    "RuntimeClass",
    # They serve nodes and volumes, of which a shard has none.
    "PersistentVolumeClaimResize",
    "PodTopologyLabels",
    "TaintNodesByCondition",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAccess:
    """An etcd that runs elsewhere."""

    servers: str
    """As kube-apiserver's ``--etcd-servers``: URLs separated by commas."""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    prefix: str | None = None
    """Where the keys are; several control planes may share one etcd under different prefixes."""

    def flags(self) -> list[str]:
        given = {
            "etcd-servers": self.servers,
            "etcd-cafile": self.ca_file,
            "etcd-certfile": self.cert_file,
            "etcd-keyfile": self.key_file,
            "etcd-prefix": self.prefix,
        }
        return [f"--{name}={value}" for name, value in given.items() if value]


def etcd(
    program: Path, *, folder: Path, durable: bool, quota: int = ETCD_QUOTA, args: tuple[str, ...] = ()
) -> list[str]:
    """etcd of one member, reachable only through sockets in ``folder``, which must be closed to others (0700).

    To be run in ``folder``. ``durable=False`` leaves out fsync: for tests. ``quota``: bytes.
    """
    client, peer = f"unix://{ETCD_SOCKET}", f"unix://{ETCD_PEER_SOCKET}"
    return [
        str(program),
        f"--name={ETCD_NAME}",
        f"--data-dir={folder / 'data'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={ETCD_NAME}={peer}",
        "--log-level=warn",
        f"--quota-backend-bytes={quota}",
        *(() if durable else ("--unsafe-no-fsync",)),
        *args,
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerFiles:
    """Certificates and keys of a kube-apiserver."""

    serving: KeyPair
    client_ca: Path
    tokens: Path
    """Of users, as ``--token-auth-file`` has them."""
    service_account: SigningKey
    encryption: Path | None = None
    """EncryptionConfiguration for data in etcd."""


def kube_apiserver(
    program: Path,
    *,
    etcd: EtcdAccess,
    files: ApiServerFiles,
    bind_address: str,
    port: int,
    service_range: str,
    node_ports: str,
    admission_off: tuple[str, ...] = (),
    args: tuple[str, ...] = (),
) -> list[str]:
    """A kube-apiserver with RBAC, client certificates and tokens, and no anonymous access.

    https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/; ``args`` come last, and of a flag
    given twice the last counts.
    """
    return [
        str(program),
        *etcd.flags(),
        f"--bind-address={bind_address}",
        f"--secure-port={port}",
        # Nobody looks for this server by the endpoints of service "kubernetes"; without an address given here it would
        # look for a default route and fail where there is none.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={files.serving.cert_file}",
        f"--tls-private-key-file={files.serving.key_file}",
        f"--client-ca-file={files.client_ca}",
        f"--token-auth-file={files.tokens}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={files.service_account.public_file}",
        f"--service-account-signing-key-file={files.service_account.private_file}",
        "--anonymous-auth=false",
        "--authorization-mode=RBAC",
        f"--service-cluster-ip-range={service_range}",
        f"--service-node-port-range={node_ports}",
        "--profiling=false",
        *((f"--encryption-provider-config={files.encryption}",) if files.encryption else ()),
        *((f"--disable-admission-plugins={','.join(admission_off)}",) if admission_off else ()),
        *args,
    ]


def kube_controller_manager(
    program: Path,
    *,
    kubeconfig: Path,
    controllers: tuple[str, ...],
    root_ca: Path,
    args: tuple[str, ...] = (),
) -> list[str]:
    """A kube-controller-manager, alone (no leader election) and without a port of its own.

    ``root_ca`` becomes ConfigMap kube-root-ca.crt of every namespace. Its client may ask often: a new namespace waits
    for its ServiceAccount and ConfigMap. Its controllers have accounts of their own, by which policies of the shard
    know them.
    """
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join(controllers)}",
        f"--root-ca-file={root_ca}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
        "--kube-api-qps=2000",
        "--kube-api-burst=4000",
        "--concurrent-namespace-syncs=20",
        "--concurrent-gc-syncs=60",  # some of which a workspace's slow conversion webhook may hold
        *args,
    ]


def kube_scheduler(program: Path, *, kubeconfig: Path, args: tuple[str, ...] = ()) -> list[str]:
    """A kube-scheduler, alone and without a port of its own."""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
        *args,
    ]
