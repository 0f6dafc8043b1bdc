"""The manifests of the package can be applied, and say what they were made from."""

from __future__ import annotations

import re
from importlib import resources

import pytest
import yaml

from proxy.shard.manifests import FOLDERS, HASH, ManifestError, load_manifests, make_manifest


def test_all_manifests_load_and_are_distinct() -> None:
    names = [str(manifest) for manifest in load_manifests()]
    assert len(set(names)) == len(names)
    assert {
        "CustomResourceDefinition logicalclusters.internal.kcp.dev",
        "CustomResourceDefinition workspaces.tenancy.kcp.dev",
        "CustomResourceDefinition workloadclusters.workload.kcp.dev",
        "MutatingAdmissionPolicy workspace-label.kcp.dev",
        "MutatingAdmissionPolicyBinding workspace-label.kcp.dev",
    } <= set(names)


def test_no_manifest_says_a_thing_twice() -> None:
    """YAML parsers take the last of two equal keys and drop the first without a word."""
    for folder in FOLDERS:
        for file in resources.files("manifests").joinpath(folder).iterdir():
            if file.name.endswith(".yaml"):
                for document in yaml.compose_all(file.read_text()):
                    assert _repeated(document) == [], f"{folder}/{file.name}"


def _repeated(node: yaml.Node | None) -> list[str]:
    if isinstance(node, yaml.SequenceNode):
        return [name for item in node.value for name in _repeated(item)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value]
    return [key for key in keys if keys.count(key) > 1] + [name for _, value in node.value for name in _repeated(value)]


def test_every_policy_is_bound() -> None:
    """A policy without a binding does nothing, and says nothing."""
    by_kind: dict[str, set[str]] = {}
    for manifest in load_manifests():
        kind = str(manifest.obj["kind"])
        if "AdmissionPolicy" not in kind:
            continue
        name = manifest.obj["spec"]["policyName"] if kind.endswith("Binding") else manifest.name
        by_kind.setdefault(kind, set()).add(name)
    for kind in ("MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"):
        assert by_kind.get(kind, set()) == by_kind.get(f"{kind}Binding", set())


def test_no_policy_fails_open() -> None:
    for manifest in load_manifests():
        if str(manifest.obj["kind"]).endswith("AdmissionPolicy"):
            assert manifest.obj["spec"]["failurePolicy"] == "Fail", manifest.name


def test_label_policy_says_the_same_twice() -> None:
    """Its match condition repeats its variables, which match conditions cannot use."""
    spec = next(m for m in load_manifests() if str(m) == "MutatingAdmissionPolicy workspace-label.kcp.dev").obj["spec"]
    variables = {variable["name"]: variable["expression"] for variable in spec["variables"]}
    condition = _plain(spec["matchConditions"][1]["expression"])
    assert _plain(variables["place"]) in condition
    assert _plain(variables["token"]).replace("variables.", "") in condition


def _plain(expression: str) -> str:
    return re.sub(r"\s+", "", expression)


def test_hash_follows_the_content() -> None:
    def role(rules: list[object]) -> str:
        obj = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "x"},
            "rules": rules,
        }
        manifest = make_manifest(obj)
        assert HASH not in str(obj), "the original stays as it is"
        return manifest.hash

    assert role([]) == role([])
    assert role([]) != role([{"verbs": ["get"]}])


@pytest.mark.parametrize(
    "obj",
    [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}},
        {"apiVersion": "rbac.authorization.k8s.io/v1beta1", "kind": "ClusterRole", "metadata": {"name": "x"}},
        {},
    ],
)
def test_other_kinds_are_refused(obj: dict[str, object]) -> None:
    with pytest.raises(ManifestError, match=r"file\.yaml: .* is not a kind that shards get"):
        make_manifest(obj, "file.yaml")
