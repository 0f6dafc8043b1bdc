"""The embedded control plane under what happens to processes, and closed to whom it must be closed."""

from __future__ import annotations

import base64
import os
import signal
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.shard.administrator import Administrator
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.shard.pki import Authority, PkiError, private_folder
from proxy.shard.supervisor import Process, ProcessError
from tests.integration.eventually import eventually

CONFIGMAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
NAMESPACES = Resource("", "v1", "namespaces", False)


def config_map(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


@pytest.fixture(scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """A control plane of its own: its programs get killed. The path is longer than a Unix socket's may be."""
    folder = tmp_path_factory.mktemp("plane") / ("long" * 25)
    async with ControlPlane(ControlPlaneSettings(folder=folder, durable=False)) as running:
        yield running


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kube-controller-manager"])
async def test_killed_program_comes_back_and_nothing_is_lost(plane: ControlPlane, name: str) -> None:
    process = plane.processes[name]
    async with plane.client() as client:
        await client.create(CONFIGMAPS, config_map(f"before-{name}"))
        pid = await eventually(lambda: alive(process))
        os.kill(pid, signal.SIGKILL)

        async def works_again() -> bool:
            """The whole chain: written to etcd through the API server, acted upon by a controller."""
            namespace = f"after-{name}"
            try:
                await client.create(NAMESPACES, {"metadata": {"name": namespace}})
            except StatusError as error:
                if error.code != 409:
                    raise
            await client.get(Resource("", "v1", "serviceaccounts"), "default", namespace)
            return process.pid not in (None, pid)

        await eventually(works_again, StatusError, timeout=40, interval=0.2)
        assert await client.get(CONFIGMAPS, f"before-{name}", "default")


async def alive(process: Process) -> int:
    return process.pid or 0


async def test_second_start_finds_all_data(tmp_path: Path) -> None:
    settings = ControlPlaneSettings(folder=tmp_path / "plane", durable=False)
    async with ControlPlane(settings) as plane, plane.client() as client:
        await client.create(CONFIGMAPS, config_map("kept"))
        port, kubeconfig = plane.port, plane.kubeconfig.read_text()
    async with ControlPlane(settings) as plane, plane.client() as client:
        assert await client.get(CONFIGMAPS, "kept", "default")
        assert plane.port == port
        assert plane.kubeconfig.read_text() == kubeconfig


async def test_port_in_use_is_told(plane: ControlPlane, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=f"port {plane.port} of 127.0.0.1 is in use"):
        await ControlPlane(ControlPlaneSettings(folder=tmp_path / "other", port=plane.port)).start()


async def test_faulty_flag_is_told_with_the_program_s_own_words(tmp_path: Path) -> None:
    settings = ControlPlaneSettings(folder=tmp_path / "plane", durable=False, apiserver_args=("--no-such-flag",))
    with pytest.raises(ProcessError, match=r"kube-apiserver ended with code 1.*unknown flag: --no-such-flag"):
        await ControlPlane(settings).start()


async def test_only_the_owner_can_read_anything(plane: ControlPlane) -> None:
    for path in plane.settings.folder.rglob("*"):
        if path.is_symlink() or path.is_relative_to(plane.settings.folder / "etcd" / "data"):
            continue  # behind etcd's folder, which is looked at
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        elif path.suffix in (".key", ".kubeconfig"):
            assert mode == 0o600, path


async def test_etcd_has_no_port(plane: ControlPlane) -> None:
    """Whoever reaches etcd owns every workspace."""
    pid = plane.processes["etcd"].pid
    inodes = {
        os.readlink(link)[8:-1]
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if os.readlink(link).startswith("socket:[")
    }
    tcp = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()
    ]
    assert [row for row in tcp if len(row) > 9 and row[9] in inodes] == []


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_strangers_get_nothing(plane: ControlPlane, token: str | None) -> None:
    stranger = Connection(server=plane.server, ca_data=plane.pki.apiserver_ca.cert, token=token)
    async with Client(stranger) as client:
        for path in ("/version", "/api", "/readyz", "/api/v1/namespaces"):
            with pytest.raises(StatusError) as refusal:
                await client.request("GET", path)
            assert refusal.value.code == 401


async def test_names_in_headers_of_a_front_proxy_are_believed_of_nobody(plane: ControlPlane) -> None:
    async with plane.client(headers={"X-Remote-User": "mallory", "X-Remote-Group": "x"}) as client:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await client.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
    assert answer["status"]["userInfo"]["username"] == "kcp-controller"


async def test_client_of_another_control_plane_is_a_stranger(plane: ControlPlane, shard: ControlPlane) -> None:
    foreign = shard.connection
    connection = Connection(
        server=plane.server,
        ca_data=plane.pki.apiserver_ca.cert,
        token=foreign.token,
    )
    pair = shard.pki.client_ca.client("elsewhere", user="kcp-controller", groups=["system:masters"])
    by_certificate = replace(connection, token=None, client_cert_data=pair.cert, client_key_data=pair.key)
    for stranger in (connection, by_certificate):
        async with Client(stranger) as client:
            with pytest.raises(StatusError) as refusal:
                await client.request("GET", "/api/v1/namespaces")
        assert refusal.value.code in (401, 503)  # refused, or no TLS connection to begin with


async def test_the_administrator_s_token_stays_and_is_private(plane: ControlPlane) -> None:
    file = plane.pki.administrator.file
    assert file.stat().st_mode & 0o777 == 0o600
    assert Administrator(file.parent).token == plane.connection.token
    file_of_another = file.with_name("other")
    file_of_another.mkdir()
    assert Administrator(file_of_another).token != plane.connection.token
    (file_of_another / "tokens.csv").write_text("x,somebody,1\n")
    with pytest.raises(PkiError, match=r"tokens.csv: no token of kcp-controller: remove the file"):
        Administrator(file_of_another)


async def test_deployments_stay_inert(plane: ControlPlane) -> None:
    """No controller of workloads runs on a shard; those that do are seen to have acted on the namespace."""
    deployments = Resource("apps", "v1", "deployments")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    obj: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "inert", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    async with plane.client() as client:
        await client.create(deployments, obj)
        await client.create(NAMESPACES, {"metadata": {"name": "seen"}})
        await eventually(
            lambda: client.get(Resource("", "v1", "serviceaccounts"), "default", "seen"), StatusError, timeout=20
        )
        assert (await client.list(Resource("apps", "v1", "replicasets"), "default"))["items"] == []
        assert not (await client.get(deployments, "inert", "default")).get("status")


async def test_root_ca_of_namespaces_is_the_one_asked_for(tmp_path: Path) -> None:
    """A pod that talks to its workspace needs the proxy's authority, not the shard's."""
    proxy = Authority(private_folder(tmp_path / "proxy"), "serving")
    settings = ControlPlaneSettings(folder=tmp_path / "plane", durable=False, root_ca=proxy.cert_file)
    async with ControlPlane(settings) as plane, plane.client() as client:
        found = await eventually(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", "default"), StatusError, timeout=60)
    assert found["data"]["ca.crt"].encode() == proxy.cert


async def test_secrets_are_encrypted_at_rest(tmp_path: Path) -> None:
    """What was there before stays readable; the key is the owner's alone, and in no log or command line."""
    words = "correct-horse-battery-staple"
    settings = ControlPlaneSettings(folder=tmp_path / "plane", durable=False, controllers=())
    open_settings = replace(settings, apiserver_args=("--encryption-provider-config=",))
    for number, used in enumerate((open_settings, settings, settings)):
        async with ControlPlane(used) as plane, plane.client() as client:
            obj = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{number}"},
                   "stringData": {"key": f"{words}-{number}"}}  # fmt: skip
            await client.create(SECRETS, obj, "default")
            for before in range(number + 1):
                found = await client.get(SECRETS, f"s{before}", "default")
                assert base64.b64decode(found["data"]["key"]).decode() == f"{words}-{before}"
    kept = b"".join(file.read_bytes() for file in (settings.folder / "etcd").rglob("*") if file.is_file())
    assert f"{words}-0".encode() in kept
    assert f"{words}-1".encode() not in kept
    assert f"{words}-2".encode() not in kept
    file = settings.folder / "pki" / "encryption.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    key = yaml.safe_load(file.read_text())["resources"][0]["providers"][0]["secretbox"]["keys"][0]["secret"]
    assert not [log for log in (settings.folder / "log").iterdir() if key in log.read_text(errors="replace")]
