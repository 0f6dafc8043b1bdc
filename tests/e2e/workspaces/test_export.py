"""`kcp workspace export` and `import`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.tools import definition, tool
from tests.e2e.workspaces.installation import Installation
from tests.integration.kcp_process import run_kcp

GROUP = "export.example.com"


def _object(kind: str, name: str, namespace: str | None = "default", **content: Any) -> dict[str, Any]:
    version = content.pop("apiVersion", "v1")
    meta = {"name": name, **({"namespace": namespace} if namespace else {}), **content.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **content}


READS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
RBAC = "rbac.authorization.k8s.io/v1"
OBJECTS = [
    _object("Namespace", "shop", None, metadata={"labels": {"tier": "front"}}),
    _object("ConfigMap", "settings", "shop", data={"colour": "blue", "text": "a\nb: c\n"}),
    _object("Secret", "password", "shop", stringData={"word": "open"}),
    _object("ServiceAccount", "robot", "shop"),
    _object(
        "Role", "reader", "shop", apiVersion=RBAC, rules=[{"apiGroups": [""], "resources": ["*"], "verbs": ["get"]}]
    ),
    _object(
        "RoleBinding",
        "robot-reads",
        "shop",
        apiVersion=RBAC,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        subjects=[{"kind": "ServiceAccount", "name": "robot", "namespace": "shop"}],
    ),
    _object("ResourceQuota", "few", "shop", spec={"hard": {"count/configmaps": "5"}}),
]


def _by_place(text: str) -> dict[tuple[str, str, str], Any]:
    """Objects by kind, namespace and name."""
    objects = list(yaml.safe_load_all(text))
    return {(obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]): obj for obj in objects}


async def _run(kcp: Installation, *arguments: str) -> tuple[int, str, str]:
    return await run_kcp("workspace", *arguments, "--root-directory", str(kcp.root))


async def test_a_workspace_becomes_another(kcp: Installation, tmp_path: Path) -> None:
    first, second = await kcp.fresh(), await kcp.fresh()
    applied = await kcp.kubectl(first, "apply", "-f", "-", stdin=yaml.safe_dump_all([*OBJECTS, definition(GROUP)]))
    assert applied.code == 0, applied.text
    await kcp.kubectl(first, "wait", "--for=condition=Established", f"crd/tools.{GROUP}", "--timeout=30s")
    saw = {**tool(GROUP, "saw"), "metadata": {"name": "saw", "namespace": "shop"}}
    applied = await kcp.kubectl(first, "apply", "-f", "-", stdin=yaml.safe_dump(saw))
    assert applied.code == 0, applied.text
    owner = yaml.safe_load((await kcp.kubectl(first, "get", "tools", "saw", "-n", "shop", "-o", "yaml")).out)
    owned = {"kind": "Tool", "apiVersion": owner["apiVersion"], "name": "saw", "uid": owner["metadata"]["uid"]}
    patch = yaml.safe_dump({"metadata": {"ownerReferences": [owned]}})
    patched = await kcp.kubectl(first, "patch", "configmap", "settings", "-n", "shop", "--type=merge", "-p", patch)
    assert patched.code == 0, patched.text

    code, text, errors = await _run(kcp, "export", first)
    assert (code, errors) == (0, "")
    found = _by_place(text)
    assert set(_by_place(yaml.safe_dump_all(OBJECTS))) <= set(found)
    assert not [place for place in found if place[2] in ("kube-root-ca.crt", "admin")]
    assert found["Secret", "shop", "password"]["data"] == {"word": "b3Blbg=="}
    file = tmp_path / "workspace.yaml"
    code, said, _ = await _run(kcp, "export", first, "-f", str(file))
    assert (code, said) == (0, f"{file}: {len(found)} objects\n")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == text

    for _ in range(2):  # the second time changes nothing
        code, said, errors = await _run(kcp, "import", second, str(file))
        assert code == 0, errors
        assert said == f"workspace {second}: {len(found)} objects\n"
    code, again, _ = await _run(kcp, "export", second)
    assert code == 0
    copies = _by_place(again)
    settings = copies["ConfigMap", "shop", "settings"]["metadata"]
    [reference] = settings["ownerReferences"]
    copy = yaml.safe_load((await kcp.kubectl(second, "get", "tools", "saw", "-n", "shop", "-o", "yaml")).out)
    assert reference == {**owned, "uid": copy["metadata"]["uid"]}
    settings["ownerReferences"] = [owned]
    assert copies == found
    may = await kcp.kubectl(
        second, "auth", "can-i", "get", "secrets", "-n", "shop", "--as=system:serviceaccount:shop:robot"
    )
    assert may.out == "yes\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "Error: {file}: while parsing"),
        ("kind: ConfigMap\n", "Error: {file}: document 1 is no object with a name"),
        ("- a\n", "Error: {file}: document 1 is no object with a name"),
        (
            yaml.safe_dump(_object("Car", "beetle", apiVersion="example.com/v1")),
            "not imported: Car default/beetle: the workspace has no example.com/v1 Car",
        ),
        (
            yaml.safe_dump(_object("ConfigMap", "Not-A-Name")),
            'not imported: ConfigMap default/Not-A-Name: ConfigMap "Not-A-Name" is invalid',
        ),
    ],
    ids=("no YAML", "no name", "no object", "no such kind", "invalid"),
)
async def test_what_cannot_be_imported(text: str, said: str, kcp: Installation, tmp_path: Path) -> None:
    file = tmp_path / "objects.yaml"
    file.write_text(text)
    code, output, errors = await _run(kcp, "import", "root:tests", str(file))
    assert (code, output) == (1, "")
    lines = errors.splitlines()
    assert lines[0].startswith(said.format(file=file))
    assert lines[-1].startswith("Error: ")
    if len(lines) > 1:
        assert lines[-1] == "Error: 1 of 1 objects are not as they are written"


async def test_no_such_workspace(kcp: Installation) -> None:
    code, output, errors = await _run(kcp, "export", "root:none")
    assert (code, output) == (1, "")
    assert errors == 'Error: workspace "root:none" not found\n'
