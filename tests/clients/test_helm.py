"""helm 3: a release's whole life, of a chart with a CRD, hooks, look-ups and cluster-scoped objects."""

from __future__ import annotations

from pathlib import Path

from tests.clients import same
from tests.clients.programs import program
from tests.clients.side import Side, Sides

CHART = Path(__file__).parent / "chart"
STEPS = (
    "install shop CHART -n market --create-namespace --wait --dry-run=server",
    "install shop CHART -n market --create-namespace --wait",
    "install shop CHART -n market",
    "list -n market -o yaml",
    "list -A",
    "status shop -n market",
    "get all shop -n market",
    "get metadata shop -n market -o yaml",
    "test shop -n market",
    "upgrade shop CHART -n market --wait --set size=3,greeting=servus,extra=true --atomic",
    "upgrade shop CHART -n market --wait --set size=0",
    "upgrade shop CHART -n market --wait --set size=many --atomic",
    "history shop -n market -o yaml",
    "rollback shop 1 -n market --wait",
    "get values shop -n market --all",
    "upgrade --install other CHART -n market --set nameOverride=shop --dry-run=server",
    "template shop CHART -n market --validate",
    "upgrade shop CHART -n market --reuse-values --set extra=true --force",
    "history shop -n market",
)
END = (
    "uninstall shop -n market --keep-history --wait",
    "list -n market --uninstalled -o yaml",
    "rollback shop 2 -n market --wait",
    "uninstall shop -n market --wait --cascade foreground",
    "uninstall shop -n market",
    "history shop -n market",
)


async def _play(side: Side, steps: tuple[str, ...]) -> list[tuple[str, int, str]]:
    helm = program("helm")
    results = []
    for step in steps:
        outcome = await side.run(helm, *(str(CHART) if word == "CHART" else word for word in step.split()))
        results.append((step, outcome.code, same.text(outcome.out + outcome.err)))
    return results


async def _objects(side: Side) -> object:
    kinds = "configmaps,serviceaccounts,gadgets"
    cluster = await side.get("clusterroles,clusterrolebindings", "-l", "app.kubernetes.io/managed-by=Helm")
    return same.obj([await side.get(kinds, "-n", "market"), cluster])


async def _life(side: Side) -> list[object]:
    results: list[object] = [await _play(side, STEPS), await _objects(side), await _play(side, END)]
    kept = await side.kubectl("get", "configmaps,gadgets", "-n", "market", "-o", "name")
    return [*results, kept + await side.kubectl("get", "crd", "gadgets.shop.example.com", "-o", "name")]


async def test_whole_life_of_a_release(sides: Sides) -> None:
    program("helm")
    steps, _, end, kept = await sides.same(_life)
    codes = {step: code for step, code, _ in [*steps, *end]}  # type: ignore[misc]
    failed = {step for step, code in codes.items() if code}
    assert failed == {
        "install shop CHART -n market --create-namespace --wait --dry-run=server",  # its CRD is not there yet
        "install shop CHART -n market",
        "upgrade shop CHART -n market --wait --set size=0",
        "upgrade shop CHART -n market --wait --set size=many --atomic",
        "uninstall shop -n market",
        "history shop -n market",
    }
    assert str(kept).split() == [
        "configmap/kube-root-ca.crt",
        "configmap/shop-post-delete",
        "configmap/shop-post-install",
        "configmap/shop-post-rollback",
        "configmap/shop-post-upgrade",
        "customresourcedefinition.apiextensions.k8s.io/gadgets.shop.example.com",
    ]
