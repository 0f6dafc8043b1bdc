"""A custom resource with what clients look at: status, scale, printer columns, rules, defaults, short names."""

from __future__ import annotations

from typing import Any


def definition(group: str) -> dict[str, Any]:
    """``tools.<group>``; the plain cluster is everybody's, so a test takes a group of its own."""
    text, number = {"type": "string"}, {"type": "integer"}
    spec = {
        "type": "object",
        "required": ["owner"],
        "properties": {
            "owner": text,
            "size": {"type": "integer", "minimum": 0, "maximum": 9, "default": 1},
            "colour": {"type": "string", "enum": ["red", "blue"]},
        },
        "x-kubernetes-validations": [{"rule": "self.owner != 'nobody'", "message": "somebody must own it"}],
    }
    status = {"type": "object", "properties": {"size": number, "selector": text, "phase": text}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"tools.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "tools", "singular": "tool", "kind": "Tool", "shortNames": ["tl"]},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
                    "selectableFields": [{"jsonPath": ".spec.colour"}],
                    "additionalPrinterColumns": [
                        {"name": "Owner", "type": "string", "jsonPath": ".spec.owner"},
                        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    ],
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.size",
                            "statusReplicasPath": ".status.size",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                }
            ],
        },
    }


def tool(group: str, name: str, **spec: object) -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1", "kind": "Tool", "metadata": {"name": name}, "spec": {"owner": "me", **spec}}
