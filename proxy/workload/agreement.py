"""What all clusters that import a type agree on. Pure."""

from __future__ import annotations

from typing import Any

from proxy.kube.client import Object
from proxy.workload.api import is_true
from proxy.workload.schema import Incompatible, common, first_difference

STRATEGY = "UpdateUnpublished"
"""Of an import that names none."""


def by_age(imports: list[Object]) -> list[Object]:
    """Who was there first is agreed with by those that came later."""
    return sorted(imports, key=lambda obj: (obj["metadata"].get("creationTimestamp", ""), obj["metadata"]["name"]))


def agree(imports: list[Object], negotiated: Object | None, enforced: Any = None) -> tuple[Any, dict[str, str]]:
    """The schema that all of ``imports`` share, and for each one that can have no part in it the reason.

    A published schema is changed only by imports whose ``schemaUpdateStrategy`` says so. A cluster that can do more
    than what is published changes nothing; one that can do less is out. ``enforced``: the schema of a CRD that somebody
    made by hand, which nothing changes.
    """
    imports = by_age(imports)
    if enforced is None and negotiated is not None and is_true(negotiated, "Enforced"):
        negotiated = None  # what it says was not agreed upon, and the CRD that said it is gone
    reference = (negotiated or imports[0])["spec"]
    before: Any = enforced or (negotiated["spec"].get("openAPIV3Schema") if negotiated else None)
    published = negotiated is not None and is_true(negotiated, "Published")
    schema: Any = None
    refused: dict[str, str] = {}
    for obj in imports:
        offered = obj["spec"].get("openAPIV3Schema") or {"type": "object"}
        strategy = obj["spec"].get("schemaUpdateStrategy", STRATEGY)
        fixed = before is not None and (strategy == "UpdateNever" or (strategy == STRATEGY and published))
        try:
            for name in ("scope", "kind"):
                if obj["spec"][name] != reference[name]:
                    raise Incompatible(name, f"{obj['spec'][name]} here, {reference[name]} there")
            if fixed or enforced:
                narrowed = common(before, offered)
                if narrowed != before:
                    why = "the CustomResourceDefinition made by hand" if enforced else strategy
                    path = first_difference(before, narrowed)
                    raise Incompatible(path, f"it would narrow the schema in use, which {why} forbids")
                offered = before
            schema = offered if schema is None else common(schema, offered)
        except Incompatible as error:
            refused[obj["metadata"]["name"]] = str(error)
    return (schema if schema is not None else before or {"type": "object"}), refused


def subresources(imports: list[Object]) -> list[Object]:
    """Those that all have."""
    named = [{item["name"] for item in obj["spec"].get("subResources") or ()} for obj in imports]
    return [{"name": name} for name in sorted(set.intersection(*named))] if named else []


def changes_what_is_published(imports: list[Object]) -> bool:
    """Whether one of them may change a schema that is in use."""
    return any(obj["spec"].get("schemaUpdateStrategy") == "UpdatePublished" for obj in imports)
