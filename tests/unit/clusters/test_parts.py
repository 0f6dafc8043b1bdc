"""Pure parts of the physical clusters."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from proxy.shard.pki import KeyPair
from tests.clusters import cgroups, kwok, network, node_files, requirements
from tests.clusters.cluster import PhysicalCluster, choose
from tests.clusters.errors import ClusterError
from tests.clusters.network import Bridge
from tests.clusters.system import run, tail
from tests.unit.clusters.test_spec import made

PAIR = KeyPair(Path("/pki/x.crt"), Path("/pki/x.key"))


def test_node_addresses_and_cables() -> None:
    bridge = Bridge("kcp7", "10.231.7.1")
    assert bridge.node_address(0) == "10.231.7.11"
    assert network.cable(bridge, bridge.node_address(4)) == "kcp7-15"
    assert len(network.cable(Bridge("kcp255", "10.231.255.1"), "10.231.255.254")) <= 15  # the kernel's limit


def test_configuration_of_a_node(tmp_path: Path) -> None:
    cluster = made(tmp_path)
    kubelet = yaml.safe_load(node_files.kubelet(cluster, serving=PAIR, client_ca=Path("/pki/ca.crt")))
    assert kubelet["address"] == "10.231.0.13"
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["failCgroupV1"] is False
    proxy = yaml.safe_load(node_files.kube_proxy(cluster, kubeconfig=tmp_path / "k"))
    assert proxy["hostnameOverride"] == "node-a"
    containerd = node_files.containerd(cluster, plugins=Path("/usr/lib/cni"), snapshotter="overlayfs")
    assert 'sandbox_image = "localhost/pause:3.10"' in containerd
    assert 'snapshotter = "overlayfs"' in containerd
    network_file = yaml.safe_load(node_files.pod_network())
    assert [plugin["type"] for plugin in network_file["plugins"]] == ["bridge", "portmap"]


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("--from-kubeconfig=/kcp/kubeconfig", "--from-kubeconfig=/pods/x/kubeconfig"),
        ("--from-cluster=root:telcops", "--from-cluster=root:telcops"),
        ("/kcp/kubeconfig", "/kcp/kubeconfig"),
    ],
)
def test_arguments_of_a_hosted_syncer(argument: str, wanted: str) -> None:
    assert kwok.translated(argument, {"/kcp/": Path("/pods/x")}) == wanted


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program, path=None: None if program == "runc" else f"/bin/{program}")
    monkeypatch.setattr(requirements, "PLUGIN_FOLDERS", ())
    assert requirements.missing_packages() == ["containernetworking-plugins", "runc"]


def test_without_root_there_are_no_real_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert requirements.obstacle(tmp_path) == "they need root"
    assert choose(tmp_path) == ("kwok", "KWOK nodes, as real ones cannot be had: they need root")
    with pytest.raises(ClusterError, match="real nodes cannot be had: they need root"):
        choose(tmp_path, "nodes")


def test_folders_that_a_node_hides_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(requirements, "missing_packages", list)
    assert requirements.obstacle(Path("/var/lib/x")) == "/var/lib/x is below /var/lib, of which nodes have their own"


def test_groups_are_removed_from_the_bottom(tmp_path: Path) -> None:
    group = tmp_path / "group"
    (group / "pods" / "pod").mkdir(parents=True)
    assert cgroups.remove([group, tmp_path / "never-made"]) == []
    assert not group.exists()


def test_groups_that_stay_are_told(tmp_path: Path) -> None:
    group = tmp_path / "group"
    group.mkdir()
    (group / "file").touch()
    assert cgroups.remove([group], timeout=0.1) == [group]


def test_groups_are_written_down(tmp_path: Path) -> None:
    groups = [Path("/sys/fs/cgroup/a"), Path("/sys/fs/cgroup/b")]
    cgroups.write(groups, tmp_path / "groups")
    assert cgroups.read(tmp_path / "groups") == groups
    assert cgroups.read(tmp_path / "none") == []


def test_a_failing_tool_is_one_line() -> None:
    with pytest.raises(ClusterError, match=r"`sh -c echo first; .*` failed: last$"):
        run("sh", "-c", "echo first; echo last >&2; exit 3")
    with pytest.raises(ClusterError, match="no-such-program"):
        run("no-such-program")


def test_the_last_line_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo\n\n")
    assert tail(tmp_path / "log") == "two"
    assert tail(tmp_path / "none") == ""


async def test_a_cluster_that_was_never_started(tmp_path: Path) -> None:
    cluster = PhysicalCluster("x", root=tmp_path / "root")
    assert (cluster.running, cluster.up) == (False, False)
    with pytest.raises(ClusterError, match="holds no cluster"):
        _ = cluster.kubeconfig
