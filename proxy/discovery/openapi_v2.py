"""OpenAPI version 2, made from the documents of version 3.

Not taken from the shard: its one document holds the CRDs of all workspaces, and grows with every one of them. The
conversion is the reverse of k8s.io/kube-openapi's ``openapiconv.ConvertV2ToV3``, and for schemas of CRDs that of
k8s.io/apiextensions-apiserver's ``controller/openapi/v2.ToStructuralOpenAPIV2``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from proxy.discovery.openapi import Spec, resource_of_path
from proxy.mapping.names import KCP_GROUPS, NATIVE_GROUPS

OPERATIONS = frozenset({"get", "put", "post", "delete", "options", "head", "patch"})
_KINDS = "x-kubernetes-group-version-kind"
_V3, _V2 = "#/components/schemas/", "#/definitions/"
_DROPPED = frozenset({"oneOf", "anyOf", "allOf", "not", "nullable", "default"})


def combined(title: str, version: str, specs: Iterable[Spec]) -> Spec:
    """One document of version 2 that holds all ``specs``; of schemas of the same name the first one counts."""
    paths: Spec = {}
    definitions: Spec = {}
    for spec in specs:
        for path, item in (spec.get("paths") or {}).items():
            paths[path] = _path_item(item, _consumes(path))
        for name, schema in ((spec.get("components") or {}).get("schemas") or {}).items():
            if name not in definitions:
                definitions[name] = _definition(schema)
    return {
        "swagger": "2.0",
        "info": {"title": title, "version": version},
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
        "securityDefinitions": {
            "BearerToken": {
                "description": "Bearer Token authentication",
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
            }
        },
        "security": [{"BearerToken": []}],
    }


def _definition(schema: Spec) -> Spec:
    """A custom resource that may have any fields is told by its kind alone, or kubectl would take it to have none."""
    if _KINDS in schema and schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"type": "object", _KINDS: schema[_KINDS]}
    return cast(Spec, schema_v2(schema))


def _consumes(path: str) -> list[str]:
    """Media types of operations without a body: those of custom resources name some."""
    about = resource_of_path(path)
    custom = about is not None and (about[0] not in NATIVE_GROUPS or about[0] in KCP_GROUPS)
    return ["application/json", "application/yaml"] if custom else ["*/*"]


def _path_item(item: Spec, consumes: list[str]) -> Spec:
    converted: Spec = {}
    for key, value in item.items():
        if key in OPERATIONS:
            converted[key] = _operation(value, consumes)
        elif key == "parameters":
            converted[key] = [_parameter(parameter) for parameter in value]
        else:
            converted[key] = value
    return converted


def _operation(operation: Spec, consumes: list[str]) -> Spec:
    converted: Spec = {"schemes": ["https"]}
    produces: dict[str, None] = {}
    for key, value in operation.items():
        if key == "responses":
            converted[key] = {code: _response(response, produces) for code, response in value.items()}
        elif key not in ("requestBody", "parameters"):
            converted[key] = value
    parameters = [_parameter(parameter) for parameter in operation.get("parameters") or ()]
    body = operation.get("requestBody")
    consumes = list((body or {}).get("content") or ()) or consumes
    if body:
        media: Spec = next(iter((body.get("content") or {}).values()), {})
        required = {"required": True} if body.get("required") else {}
        body_parameter = {"name": "body", "in": "body", **required, "schema": schema_v2(media.get("schema") or {})}
        parameters.insert(0, body_parameter)
    converted["consumes"] = consumes
    converted["produces"] = list(produces) or ["*/*"]
    if parameters:
        converted["parameters"] = parameters
    return converted


def _response(response: Spec, produces: dict[str, None]) -> Spec:
    content = response.get("content") or {}
    produces.update(dict.fromkeys(content))
    converted = {key: value for key, value in response.items() if key != "content"}
    media = next(iter(content.values()), None)
    if media and media.get("schema"):
        converted["schema"] = schema_v2(media["schema"])
    return converted


def _parameter(parameter: Spec) -> Spec:
    converted = {key: value for key, value in parameter.items() if key != "schema"}
    return converted | {key: value for key, value in (parameter.get("schema") or {}).items() if key != "default"}


def schema_v2(schema: Any) -> Any:
    """A schema in the words that version 2 has; what it cannot say is left out, as a kube-apiserver does."""
    if not isinstance(schema, dict):
        return schema
    converted: Spec = {key: _part(key, value) for key, value in schema.items() if key not in _DROPPED}
    wrapped: list[Spec] = schema.get("allOf") or []
    if len(wrapped) == 1 and "$ref" in wrapped[0]:
        converted["$ref"] = _part("$ref", wrapped[0]["$ref"])
    if "type" not in schema and any(list(choice) == ["type"] for choice in schema.get("oneOf") or ()):
        converted["type"] = "string"  # as k8s.io/apimachinery's IntOrString and Quantity call themselves
    if schema.get("nullable"):
        _drop(converted, "type", "items", "properties")
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        _drop(converted, "items", "properties")
        if converted.get("type") == "object":
            del converted["type"]
    if converted.get("type") == "array" and "items" not in converted:
        del converted["type"]
    _relax_required(schema, converted)
    return converted


def _part(key: str, value: Any) -> Any:
    if key == "$ref":
        return value.replace(_V3, _V2)
    if key in ("properties", "definitions", "patternProperties"):
        return {name: schema_v2(part) for name, part in value.items()}
    if key in ("items", "additionalProperties"):
        return [schema_v2(part) for part in value] if isinstance(value, list) else schema_v2(value)
    return value


def _relax_required(schema: Spec, converted: Spec) -> None:
    """Nullable fields are not required: version 2 cannot say null."""
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict) and extra.get("nullable"):
        converted.pop("required", None)
    if "required" in converted:
        properties = schema.get("properties") or {}
        required = [name for name in converted["required"] if not (properties.get(name) or {}).get("nullable")]
        if required:
            converted["required"] = required
        else:
            del converted["required"]


def _drop(schema: Spec, *keys: str) -> None:
    for key in keys:
        schema.pop(key, None)
