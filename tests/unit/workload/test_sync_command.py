"""``kubectl kcp workload sync``: what it prints, and what it refuses before it asks anybody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli.flags import Plain
from proxy.cli.shared import shared
from proxy.cli.workload import BELOW, by_group, manifest, rules_above, rules_of_its_own, workload
from proxy.kube.config import load_kubeconfig
from syncer.names import syncer_id

SYNCED = ["configmaps", "deployments.apps", "secrets", "serviceaccounts"]


def printed(**changes: object) -> str:
    values: dict[str, object] = {
        "workspace": "root:telcops:team-a", "cluster": "ocp-sno",
        "image": "images.example/x/syncer:latest", "replicas": 1,
        "synced": SYNCED, "on_removal": "keep", "kcp_namespace": "default", "server": "https://kcp:6443/clusters/root:telcops:team-a",
        "ca": b"PEM", "token": "a.b.c",
    }  # fmt: skip
    return manifest(**{**values, **changes})  # type: ignore[arg-type]


def objects(text: str) -> dict[str, dict[str, object]]:
    """By kind; of several the last."""
    return {obj["kind"]: obj for obj in yaml.safe_load_all(text)}


def test_identifier() -> None:
    name = syncer_id("root:telcops:team-a", "ocp-sno")
    assert name.startswith("kcpsync")
    assert len(name) == 63, "as long as the name of a namespace may be"
    assert name != syncer_id("root:telcops:team-b", "ocp-sno")
    assert name != syncer_id("root:telcops:team-a", "ocp-ztp")


def test_manifest() -> None:
    made = objects(printed())
    name = syncer_id("root:telcops:team-a", "ocp-sno")
    assert list(made) == [
        "Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
        "Secret", "Deployment",
    ]  # fmt: skip
    for kind in ("Namespace", "ClusterRole", "ClusterRoleBinding"):
        assert made[kind]["metadata"]["name"] == name  # type: ignore[index]
    for kind in ("ServiceAccount", "Role", "RoleBinding", "Secret", "Deployment"):
        assert made[kind]["metadata"]["namespace"] == name  # type: ignore[index]


def test_the_line_that_the_blog_looks_for() -> None:
    lines = [line for line in printed().splitlines() if "--resource" in line]
    assert lines == [f"        - --resources={resource}" for resource in SYNCED]


def test_everything_is_known_and_no_more_rights_are_asked_for() -> None:
    everything = ["*", *SYNCED]
    made, usual = objects(printed(synced=everything)), objects(printed())
    assert made["ClusterRole"]["rules"] == usual["ClusterRole"]["rules"]
    assert rules_above("ocp-sno", everything) == rules_above("ocp-sno", SYNCED)
    assert "        - --resources=*" in printed(synced=everything).splitlines()


def test_arguments() -> None:
    def args(**changes: object) -> list[str]:
        pod = objects(printed(**changes))["Deployment"]["spec"]["template"]["spec"]  # type: ignore[index]
        return list(pod["containers"][0]["args"])

    assert args()[:3] == [
        "--from-kubeconfig=/kcp/kubeconfig", "--workload-cluster-name=ocp-sno", "--from-cluster=root:telcops:team-a",
    ]  # fmt: skip
    assert "--kcp-namespace=elsewhere" in args(kcp_namespace="elsewhere")
    assert args(on_removal="delete") == [*args(), "--on-removal=delete"]


def test_replicas() -> None:
    assert objects(printed(replicas=0))["Deployment"]["spec"]["replicas"] == 0  # type: ignore[index]


def test_kubeconfig() -> None:
    config = yaml.safe_load(objects(printed())["Secret"]["stringData"]["kubeconfig"])  # type: ignore[index]
    assert config["clusters"][0]["cluster"] == {
        "certificate-authority-data": "UEVN",
        "server": "https://kcp:6443/clusters/root:telcops:team-a",
    }
    assert config["users"][0]["user"] == {"token": "a.b.c"}


def test_another_address_is_another_pod_and_another_token_is_not() -> None:
    def pod(**changes: object) -> object:
        return objects(printed(**changes))["Deployment"]["spec"]["template"]  # type: ignore[index]

    assert pod(token="d.e.f") == pod()
    assert pod(server="https://elsewhere:6443/clusters/root:telcops:team-a") != pod()
    assert pod(ca=b"OTHER") != pod()


def test_rights_below() -> None:
    rules = objects(printed(synced=["configmaps", "ingresses.networking.k8s.io"]))["ClusterRole"]["rules"]
    assert rules[2:] == [  # type: ignore[index]
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": list(BELOW)},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": list(BELOW)},
    ]
    assert not {"*", "impersonate", "bind", "escalate"} & set(BELOW)
    own = objects(printed())["Role"]["rules"]
    assert own == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["kcp-syncer-token"], "verbs": ["get", "patch"]}
    ]


def test_rights_above_are_no_more_than_needed() -> None:
    rules = rules_above("ocp-sno", SYNCED)
    for rule in rules:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        if "workloadclusters" in rule["resources"] or "workloadclusters/status" in rule["resources"]:
            assert rule["resourceNames"] == ["ocp-sno"]
        if rule["resources"] == ["serviceaccounts/token"]:
            assert rule["resourceNames"] == ["default"]
    plain = {resource.partition(".")[0] for resource in SYNCED}
    writes = {"create", "update", "patch", "delete"}
    written = {resource for rule in rules if writes & set(rule["verbs"]) for resource in rule["resources"]}
    assert {resource for resource in written if "/" not in resource} == {"apiresourceimports", "events", *plain}
    for rule in rules:
        if plain & set(rule["resources"]):
            assert not {"create", "update", "delete"} & set(rule["verbs"]), "only finalizers, by patch"
    assert all(rule["resourceNames"] == ["syncer-ocp-sno"] for rule in rules_of_its_own("syncer-ocp-sno"))


def test_by_group() -> None:
    assert by_group(SYNCED) == {"": ["configmaps", "secrets", "serviceaccounts"], "apps": ["deployments"]}


@pytest.mark.parametrize("image", ["a b", "x\ny: z", "{}", "a#b", '"a"'])
def test_an_image_cannot_write_yaml(image: str) -> None:
    with pytest.raises(Plain):
        printed(image=image)


def kubectl_kcp(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1/clusters/root:a"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
        "current-context": "c",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-c", "from proxy.cli.kubectl_kcp import main; main()", "workload", "sync"]
    return subprocess.run(
        [*command, f"--kubeconfig={path}", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["east"], "error: a value must be specified for --syncer-image\n"),
        (["East", "--syncer-image=i"], "error: 'East' is not a valid name for a cluster\n"),
        (["e" * 64, "--syncer-image=i"], f"error: '{'e' * 64}' is not a valid name for a cluster\n"),
        (["east", "--syncer-image=i", "--replicas=2"], "error: only 0 and 1 are valid values for --replicas\n"),
        (
            ["east", "--syncer-image=i", "--resources=Pods"],
            "error: 'Pods' is not a resource (plural or plural.group)\n",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = kubectl_kcp(tmp_path, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", words)


def test_a_server_that_is_away_is_one_line(tmp_path: Path) -> None:
    done = kubectl_kcp(tmp_path, "east", "--syncer-image=i")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "127.0.0.1:1" in done.stderr


def test_a_tunnel_is_asked_for() -> None:
    """What it needs is in the manifest and the role then, and only then."""
    usual, made = objects(printed()), objects(printed(shown=["pods"], tunnel=True))
    more = [rule for rule in made["ClusterRole"]["rules"] if rule not in usual["ClusterRole"]["rules"]]  # type: ignore[attr-defined, operator]
    assert more == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        *(
            {"apiGroups": [""], "resources": [f"pods/{what}"], "verbs": ["create", "get"]}
            for what in ("attach", "exec", "portforward")
        ),
    ]
    lines = [line.strip() for line in printed(shown=["pods"], tunnel=True).splitlines()]
    assert lines[lines.index("- --resources=serviceaccounts") + 1 :][:2] == ["- --sync-up=pods", "- --tunnel"]
    assert "pods" not in printed()
    above = rules_above("ocp-sno", SYNCED, ["pods"], tunnel=True)
    assert above[: len(rules_above("ocp-sno", SYNCED))] == rules_above("ocp-sno", SYNCED)
    assert above[-1] == {
        "apiGroups": ["workload.kcp.dev"], "resources": ["workloadclusters/tunnel"],
        "resourceNames": ["ocp-sno"], "verbs": ["create"],
    }  # fmt: skip


def test_pods_both_ways() -> None:
    rules = objects(printed(synced=[*SYNCED, "pods"], shown=["pods"]))["ClusterRole"]["rules"]
    about = [rule for rule in rules if "pods" in rule["resources"]]  # type: ignore[attr-defined]
    assert [rule["verbs"] for rule in about] == [list(BELOW)]


def test_a_syncer_that_workspaces_share() -> None:
    settings = {"workspace": "root:telcops:team-a", "cluster": "ocp-sno", "resources": SYNCED}
    name = syncer_id("root:telcops:team-a", "ocp-sno")
    added = list(yaml.safe_load_all(shared(printed(), settings, image=None)))
    # Nothing that others need: to delete what was printed takes one workspace away.
    assert [(obj["kind"], obj["metadata"]["name"]) for obj in added] == [
        ("ClusterRole", name), ("ClusterRoleBinding", name), ("Secret", f"{name}-token"), ("Secret", name),
    ]  # fmt: skip
    secret = added[-1]
    assert json.loads(secret["stringData"]["settings"]) == settings
    assert load_kubeconfig(json.loads(secret["stringData"]["kubeconfig"])).token == "a.b.c"
    assert added[1]["subjects"] == [{"kind": "ServiceAccount", "name": "kcp-syncer", "namespace": "kcp-syncer"}]

    whole = list(yaml.safe_load_all(shared(printed(), settings, image="x")))
    assert whole[-4:] == added
    common = whole[:-4]
    assert [obj["kind"] for obj in common] == ["Namespace", "ServiceAccount", "Role", "RoleBinding", "Deployment"]
    assert name not in yaml.safe_dump_all(common)
    assert "team-a" not in yaml.safe_dump_all(common)
    container = common[-1]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["--from-secrets=kcp-syncer", "--metrics-bind-address=:9465"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--push", __file__, "--syncer-image", "x"], "only one of them goes"),
        (["--push-as-is"], "a value must be specified for --push"),
        (["--push-context", "x", "--syncer-image", "x"], "a value must be specified for --push"),
        (["--shared", "--on-removal", "delete"], "--shared goes with neither"),
        (["--shared", "--push", __file__], "--shared goes with neither"),
        ([], "a value must be specified for --syncer-image"),
    ],
)
def test_flags_that_do_not_fit(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(workload, ["sync", "east", *arguments])
    assert result.exit_code == 1
    assert words in result.output
