"""Roles of the parts of kcp: named after their content, bound to whom they are for, and there for everybody."""

from __future__ import annotations

from proxy.identities import Identity
from proxy.kube.client import Object
from proxy.shard.manifests import load_manifests
from proxy.shard.rights import PREFIX, granted, is_role


def role(*verbs: str, name: str = "kcp:reaching") -> Object:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}]
    return {"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}


def test_a_role_is_named_after_what_it_gives() -> None:
    (one, binding), (same, _), (other, _) = granted(role("get")), granted(role("get")), granted(role("list"))
    assert one == same
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert binding["roleRef"]["name"] == binding["metadata"]["name"] == one["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == ["system:kcp:reaching"]


def test_other_objects_stay_as_they_are() -> None:
    for obj in (role("get", name="view"), {"kind": "FlowSchema", "metadata": {"name": "kcp:x"}}):
        assert granted(obj) == (obj,)


def test_every_part_has_one_role() -> None:
    roles = [manifest.name.split(":")[1] for manifest in load_manifests() if is_role(manifest.obj)]
    assert sorted(roles) == sorted(Identity)


def test_nobody_may_impersonate_or_everything() -> None:
    for manifest in load_manifests():
        for rule in manifest.obj["rules"] if is_role(manifest.obj) else ():
            assert {"*", "impersonate"}.isdisjoint(rule["verbs"]), manifest.name
            collections = manifest.name.startswith(f"{PREFIX}{Identity.NAMESPACES.value}:")
            assert collections or "deletecollection" not in rule["verbs"], manifest.name
            assert "*" not in rule.get("nonResourceURLs", ()), manifest.name
            assert PREFIX in manifest.name
