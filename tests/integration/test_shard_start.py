"""`kcp start` as people run it: a process that gets ready, survives, ends, and says in one line why it cannot start."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.binaries import find
from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import Connection, load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard import pki
from proxy.shard.addresses import free_port
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.shard.supervisor import Process, Program
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, children, is_alive, run_kcp

CONFIGMAPS = Resource("", "v1", "configmaps")
NAMESPACES = Resource("", "v1", "namespaces", False)
WORKSPACE_KINDS = {"logicalclusters", "workspaces", "clusterworkspaces"}
WORKSPACES = Resource("tenancy.kcp.dev", "v1beta1", "workspaces", False)


def config_map(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


@pytest.fixture(scope="module")
async def kcp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    async with Kcp(tmp_path_factory.mktemp("start") / "root") as running:
        yield running


async def test_ready_means_ready(kcp: Kcp) -> None:
    """Not a moment later: the first request after the line works, in every context."""
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        names = [item["metadata"]["name"] for item in (await client.list(NAMESPACES))["items"]]
        assert names == ["default"]
    async with Client(load_kubeconfig(kcp.kubeconfig, "root")) as client:
        assert (await client.get(WORKSPACES, "default"))["status"]["phase"] == "Ready"
    async with Client(load_kubeconfig(kcp.kubeconfig, "system:admin")) as client:
        assert await client.request("GET", "/readyz") == "ok"


async def test_says_what_to_do_next(kcp: Kcp) -> None:
    assert f"kcp is ready at https://127.0.0.1:{kcp.port}" in kcp.output
    assert f"export KUBECONFIG={kcp.kubeconfig}" in kcp.output


async def test_folder_is_closed(kcp: Kcp) -> None:
    assert stat.S_IMODE(kcp.root.stat().st_mode) == 0o700
    secrets = [path for path in kcp.root.rglob("*") if path.suffix in (".key", ".kubeconfig", ".csv", ".json")]
    assert len(secrets) > 8
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


async def test_no_secret_is_in_a_log(kcp: Kcp) -> None:
    token = load_kubeconfig(kcp.kubeconfig).token
    assert token
    logs = kcp.output + "".join(path.read_text(errors="replace") for path in (kcp.root / "log").iterdir())
    assert token not in logs
    assert "PRIVATE KEY" not in logs


async def test_strangers_get_nothing(kcp: Kcp) -> None:
    known = load_kubeconfig(kcp.kubeconfig)
    async with Client(Connection(server=known.server, ca_data=known.ca_data)) as client:
        with pytest.raises(StatusError) as refusal:
            await client.list(NAMESPACES)
    assert refusal.value.code == 403


async def test_address_in_use_is_one_line(kcp: Kcp, tmp_path: Path) -> None:
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104
        code, _, errors = await run_kcp(
            "start", "--bind-address", address, "--secure-port", str(kcp.port), "--root-directory", str(tmp_path / "x")
        )
        assert (code, errors) == (1, f"Error: port {kcp.port} of {address} is in use\n")


async def test_folder_in_use_is_one_line(kcp: Kcp) -> None:
    arguments = ("--bind-address", "127.0.0.1", "--secure-port", str(free_port()), "--root-directory", str(kcp.root))
    code, _, errors = await run_kcp("start", *arguments)
    assert (code, errors) == (1, f"Error: {kcp.root} is in use by another kcp (process {kcp.pid})\n")


@pytest.mark.parametrize("what", ["proxy.server.worker", "kube-apiserver", "etcd", "kube-controller-manager"])
async def test_killed_parts_come_back(kcp: Kcp, what: str) -> None:
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        killed = [pid for pid, command in children(kcp.pid).items() if what in command]
        assert killed
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

        async def works() -> bool:
            name = f"after-{what.replace('.', '-').lower()}"
            now = [pid for pid, command in children(kcp.pid).items() if what in command]
            if len(now) != len(killed) or set(now) & set(killed):
                return False
            try:
                await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            except StatusError as error:
                if error.code != 409:
                    raise
            return bool(await client.get(CONFIGMAPS, "kube-root-ca.crt", name))

        await eventually(works, StatusError, timeout=60, interval=0.2)
    assert "starting it again" in kcp.output


async def test_ends_in_time_and_finds_everything_again(tmp_path: Path) -> None:
    root, port = tmp_path / "root", free_port()
    async with Kcp(root, port=port) as kcp:
        parts = children(kcp.pid)
        assert len(parts) >= 4
        async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
            await client.create(CONFIGMAPS, config_map("kept"))
        token = load_kubeconfig(kcp.kubeconfig).token
        watching = asyncio.create_task(watch_forever(kcp))  # a watch must not hold up the end
        await asyncio.sleep(0.2)
        began = time.monotonic()
        assert await kcp.end(signal.SIGINT) == 0
        assert time.monotonic() - began < 5
        assert [command for pid, command in parts.items() if Path(f"/proc/{pid}").exists()] == []
        watching.cancel()
        assert "Traceback" not in kcp.output
    expired = expire(root / "pki")
    assert {"serving", "apiserver", "kube-controller-manager"} <= expired.keys()
    async with Kcp(root, port=port) as kcp:
        for name, end in expired.items():
            assert certificate(root / "pki" / f"{name}.crt").not_valid_after_utc > end + datetime.timedelta(days=365)
        assert load_kubeconfig(kcp.kubeconfig).token == token
        async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
            assert await client.get(CONFIGMAPS, "kept", "default")
        assert await read_for_lists(root) == {}, (
            "workspaces, of which there may be thousands, are read for the cache alone"
        )
        await kcp.kill()
    async with Kcp(root, port=port) as kcp, Client(load_kubeconfig(kcp.kubeconfig)) as client:
        assert await client.get(CONFIGMAPS, "kept", "default")


async def read_for_lists(root: Path) -> dict[str, float]:
    """How many objects that tell of workspaces the shard has read from etcd because somebody listed them."""
    async with Client(load_kubeconfig(root / "shard" / "admin.kubeconfig")) as shard:
        text = str(await shard.request("GET", "/metrics", accept="text/plain"))
    lines = [line for line in text.splitlines() if line.startswith("apiserver_storage_list_fetched_objects_total{")]
    counts = {line.partition('resource="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}
    return {kind: count for kind, count in counts.items() if kind in WORKSPACE_KINDS and count}


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def expire(folder: Path) -> dict[str, datetime.datetime]:
    """Put certificates that ended an hour ago into the places of all but the authorities'; their ends, by name."""
    authorities = {file.name.removesuffix("-ca.crt"): file for file in folder.glob("*-ca.crt")}
    end = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    found = {}
    for file in [file for file in folder.glob("*.crt") if file not in authorities.values()]:
        old = certificate(file)
        [name] = [name for name, ca in authorities.items() if certificate(ca).subject == old.issuer]
        signer = serialization.load_pem_private_key((folder / f"{name}-ca.key").read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        builder = x509.CertificateBuilder(
            old.issuer,
            old.subject,
            old.public_key(),
            old.serial_number,
            end - datetime.timedelta(days=1),
            end,
            list(old.extensions),
        )
        file.write_bytes(builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        found[file.stem] = end
    return found


async def test_authority_that_has_ended_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = pki._now()
    monkeypatch.setattr(pki, "_now", lambda: now - pki.CA_LIFE - datetime.timedelta(days=1))
    pki.Authority(pki.private_folder(tmp_path / "root" / "pki"), "serving")
    options = ("--root-directory", str(tmp_path / "root"), "--bind-address", "127.0.0.1")
    code, output, errors = await run_kcp(
        "start", *options, "--secure-port", str(free_port()), "--metrics-bind-address=off"
    )
    assert (code, output) == (1, "")
    assert errors.startswith(f"Error: {tmp_path}/root/pki/serving-ca.crt has ended at ")
    assert len(errors.splitlines()) == 1


async def watch_forever(kcp: Kcp) -> None:
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        async for _ in client.watch(CONFIGMAPS, "default", resource_version="0"):
            pass


async def test_ctrl_c_during_the_start(tmp_path: Path) -> None:
    kcp = Kcp(tmp_path / "root")
    await kcp.begin()

    async def begun() -> dict[int, str]:
        return children(kcp.pid)

    parts = await eventually(begun)
    began = time.monotonic()
    assert await kcp.end(signal.SIGINT) == 0
    assert time.monotonic() - began < 5
    assert "Traceback" not in kcp.output
    assert not any(is_alive(pid) for pid in parts)


@pytest.mark.parametrize("known_by", ["token", "certificate"])
async def test_running_apiserver_as_shard(tmp_path: Path, known_by: str) -> None:
    settings = ControlPlaneSettings(folder=tmp_path / "shard", durable=False)
    async with ControlPlane(settings) as plane:
        config = yaml.safe_load(plane.kubeconfig.read_text())
        if known_by == "certificate":
            pair = plane.pki.client_ca.client("admin", user="somebody", groups=["system:masters"])
            config["users"][0]["user"] = {
                "client-certificate": str(pair.cert_file),
                "client-key": str(pair.key_file),
            }
        file = tmp_path / "eu.kubeconfig"
        file.write_text(yaml.safe_dump(config))
        async with Kcp(tmp_path / "root", "--no-embedded", "--shard", f"eu={file}") as kcp:
            assert not any("etcd" in command for command in children(kcp.pid).values())
            async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
                await client.create(CONFIGMAPS, config_map("there"))
                names = [item["metadata"]["name"] for item in (await client.list(NAMESPACES))["items"]]
                assert names == ["default"]
        async with plane.client() as client:
            everywhere = (await client.list(CONFIGMAPS))["items"]
            assert "there" in [item["metadata"]["name"] for item in everywhere]


GARBAGE = "this is no certificate"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-embedded"], "--no-embedded needs a --shard"),
        (["--tls-cert-file", "{garbage}"], "--tls-cert-file and --tls-private-key-file belong together"),
        (["--tls-cert-file", "{garbage}", "--tls-private-key-file", "{garbage}"], "are no certificate and its key"),
        (["--client-ca-file", "{garbage}"], "--client-ca-file: {garbage} holds no certificates"),
        (["--token-auth-file", "{garbage}"], "--token-auth-file: {garbage}:1: wanted token,user,uid"),
        (
            ["--no-embedded", "--shards-directory", "{folder}"],
            "--shards-directory: {folder} holds no file NAME.kubeconfig",
        ),
        (["--shard", "eu"], "--shard eu: wanted NAME=KUBECONFIG"),
        (["--shard", "EU={garbage}"], "wanted NAME=KUBECONFIG, the name of lower case letters"),
        (["--shard", "eu=/no/such/file"], "/no/such/file: No such file or directory"),
        (["--shard", "eu={garbage}"], "{garbage}: not a kubeconfig"),
        (["--bind-address", "192.0.2.77"], "of 192.0.2.77 cannot be used: Cannot assign requested address"),
        (["--external-hostname", "https://x"], "--external-hostname https://x: wanted HOST or HOST:PORT"),
        (["--etcd-prefix", "/x"], "the other --etcd-… options need --etcd-servers"),
    ],
)
async def test_wrong_options_are_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_text(GARBAGE)
    (tmp_path / "none").mkdir()
    options = [option.format(garbage=garbage, folder=tmp_path / "none") for option in options]
    arguments = ("--bind-address", "127.0.0.1", "--secure-port", str(free_port()), "--root-directory", str(tmp_path))
    code, output, errors = await run_kcp("start", *arguments, *options)
    assert (code, output) == (1, "")
    assert len(errors.splitlines()) == 1
    assert message.format(garbage=garbage, folder=tmp_path / "none") in errors


async def test_shard_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "eu.kubeconfig"
    cluster = {"name": "x", "cluster": {"server": f"https://127.0.0.1:{free_port()}"}}
    context = {"name": "x", "context": {"cluster": "x"}}
    file.write_text(yaml.safe_dump({"clusters": [cluster], "contexts": [context], "current-context": "x"}))
    code, _, errors = await run_kcp(
        *("start", "--bind-address", "127.0.0.1", "--secure-port", str(free_port())),
        *("--root-directory", str(tmp_path / "root"), "--no-embedded", "--shard", f"eu={file}"),
    )
    assert code == 1
    assert "Error: shard eu: https://127.0.0.1:" in errors.splitlines()[-1]
    assert "Traceback" not in errors


async def test_etcd_that_runs_already(tmp_path: Path) -> None:
    """Its data outlives the folder of kcp; etcd is not started then."""
    port, peer = free_port(), free_port()
    url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer}"
    program = Program(
        name="etcd",
        argv=[
            *(str(find("etcd")), "--name=x", f"--data-dir={tmp_path / 'etcd'}", "--unsafe-no-fsync"),
            *(f"--listen-client-urls={url}", f"--advertise-client-urls={url}", "--log-level=error"),
            *(f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}"),
            f"--initial-cluster=x={peer_url}",
        ],
        log=tmp_path / "etcd.log",
    )
    etcd = Process(program)
    await etcd.start()
    try:
        options = ("--etcd-servers", url, "--etcd-prefix", "/mine")
        async with Kcp(tmp_path / "one", *options) as kcp, Client(load_kubeconfig(kcp.kubeconfig)) as client:
            assert not any("etcd " in command for command in children(kcp.pid).values())
            await client.create(CONFIGMAPS, config_map("kept"))
        async with Kcp(tmp_path / "two", *options) as kcp, Client(load_kubeconfig(kcp.kubeconfig)) as client:
            assert await client.get(CONFIGMAPS, "kept", "default")
    finally:
        await etcd.stop()
