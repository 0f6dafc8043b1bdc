"""Command lines: what must never be missing from them."""

from __future__ import annotations

from pathlib import Path

from proxy.shard import commands
from proxy.shard.commands import ApiServerFiles, EtcdAccess
from proxy.shard.pki import KeyPair, SigningKey

FILES = ApiServerFiles(
    serving=KeyPair(Path("s.crt"), Path("s.key")),
    client_ca=Path("client-ca.crt"),
    tokens=Path("tokens.csv"),
    service_account=SigningKey(Path("sa.key"), Path("sa.pub")),
)


def apiserver(*args: str, etcd: EtcdAccess | None = None) -> list[str]:
    return commands.kube_apiserver(
        Path("kube-apiserver"),
        etcd=etcd or EtcdAccess(servers="unix://client:0"),
        files=FILES,
        bind_address="127.0.0.1",
        port=1234,
        service_range="10.0.0.0/8",
        node_ports="1024-65535",
        args=args,
    )


def test_apiserver_is_closed() -> None:
    flags = apiserver()
    assert "--anonymous-auth=false" in flags
    assert "--authorization-mode=RBAC" in flags
    assert "--bind-address=127.0.0.1" in flags
    assert "--client-ca-file=client-ca.crt" in flags
    assert "--token-auth-file=tokens.csv" in flags
    assert not any("requestheader" in flag for flag in flags), "nobody is believed for what headers of his say"


def test_caller_s_arguments_come_last() -> None:
    assert apiserver("--anonymous-auth=true")[-1] == "--anonymous-auth=true"


def test_external_etcd() -> None:
    access = EtcdAccess(
        servers="https://a:2379,https://b:2379",
        ca_file=Path("ca"),
        cert_file=Path("crt"),
        key_file=Path("key"),
        prefix="/kcp",
    )
    assert apiserver(etcd=access)[1:6] == [
        "--etcd-servers=https://a:2379,https://b:2379",
        "--etcd-cafile=ca",
        "--etcd-certfile=crt",
        "--etcd-keyfile=key",
        "--etcd-prefix=/kcp",
    ]


def test_etcd_waits_for_the_disk_unless_told_otherwise() -> None:
    assert not any("no-fsync" in flag for flag in commands.etcd(Path("etcd"), folder=Path("f"), durable=True))
    assert "--unsafe-no-fsync" in commands.etcd(Path("etcd"), folder=Path("f"), durable=False)


def test_etcd_has_sockets_only() -> None:
    urls = [flag for flag in commands.etcd(Path("etcd"), folder=Path("f"), durable=True) if "-urls=" in flag]
    assert len(urls) == 4
    assert all(flag.partition("=")[2].startswith("unix://") for flag in urls)


def test_shard_runs_only_what_workspaces_need() -> None:
    """The aggregation controller would let one workspace's role flow into the roles of all."""
    flags = commands.kube_controller_manager(
        Path("kcm"), kubeconfig=Path("k"), controllers=commands.SHARD_CONTROLLERS, root_ca=Path("ca")
    )
    named = next(flag for flag in flags if flag.startswith("--controllers="))
    assert "clusterrole-aggregation" not in named
    assert "deployment" not in named
    assert "*" not in named
    assert "--use-service-account-credentials" in flags
