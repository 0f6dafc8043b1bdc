"""OpenAPI: cut down, freed of the token, converted to version 2, encoded."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.discovery.openapi import (
    Spec,
    filtered,
    merged,
    path_of,
    plain,
    reachable,
    resource_of_path,
    subresource_of_path,
)
from proxy.discovery.openapi_proto import encode_document, varint
from proxy.discovery.openapi_v2 import combined, schema_v2


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


SPEC: dict[str, Any] = {
    "openapi": "3.0.0",
    "info": {"title": "Kubernetes", "version": "1.36"},
    "paths": {
        "/apis/apps/v1/namespaces/{namespace}/deployments": {
            "get": {"responses": {"200": {"content": {"application/json": {"schema": ref("Deployment")}}}}}
        },
        "/apis/apps/v1/namespaces/{namespace}/daemonsets": {
            "get": {"responses": {"200": {"content": {"application/json": {"schema": ref("DaemonSet")}}}}}
        },
    },
    "components": {
        "schemas": {
            "Deployment": {"properties": {"metadata": {"allOf": [ref("Meta")]}, "next": ref("Deployment")}},
            "DaemonSet": {"properties": {"spec": ref("DaemonSetSpec")}},
            "DaemonSetSpec": {},
            "Meta": {"properties": {"time": ref("a~1b")}},
            "a/b": {},
        },
        "securitySchemes": {"BearerToken": {}},
    },
}


def test_filter_keeps_what_served_paths_reach() -> None:
    cut = filtered(SPEC, lambda path: path.endswith("/deployments"))
    assert list(cut["paths"]) == ["/apis/apps/v1/namespaces/{namespace}/deployments"]
    assert set(cut["components"]["schemas"]) == {"Deployment", "Meta", "a/b"}
    assert cut["components"]["securitySchemes"] == {"BearerToken": {}}
    assert len(SPEC["paths"]) == 2, "the source stays as it is"


def test_reachable_stands_dangling_references() -> None:
    assert reachable({}, orjson.dumps(ref("gone"))) == {}


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/configmaps", ("", "v1", "configmaps")),
        ("/api/v1/namespaces/{namespace}/pods/{name}/log", ("", "v1", "pods")),
        ("/api/v1/namespaces", ("", "v1", "namespaces")),
        ("/api/v1/namespaces/{name}", ("", "v1", "namespaces")),
        ("/api/v1/namespaces/{name}/status", ("", "v1", "namespaces")),
        ("/api/v1/namespaces/{name}/finalize", ("", "v1", "namespaces")),
        ("/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale", ("apps", "v1", "deployments")),
        ("/apis/example.com/v1/widgets/{name}", ("example.com", "v1", "widgets")),
        ("/api/v1/watch/configmaps", None),
        ("/api/v1/", None),
        ("/apis/apps/", None),
        ("/apis/apps/v1/", None),
        ("/version/", None),
        ("/", None),
    ],
)
def test_resource_of_path(path: str, resource: tuple[str, str, str] | None) -> None:
    assert resource_of_path(path) == resource


def test_subresource_of_path() -> None:
    assert subresource_of_path("/api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}") == "proxy"
    assert subresource_of_path("/api/v1/namespaces/{namespace}/pods/{name}") == ""
    assert subresource_of_path("/api/v1/namespaces/{name}/status") == "status"


def test_path_of() -> None:
    assert path_of("", "v1") == "api/v1"
    assert path_of("apps", "v1") == "apis/apps/v1"


def test_plain_removes_the_token_in_every_spelling() -> None:
    """As a shard writes a private group's document: path, schema name, tag, operation id, group."""
    spec = {
        "paths": {
            "/apis/k3fq7zn2a-example.com/v1/widgets": {
                "get": {
                    "tags": ["k3fq7zn2aExampleCom_v1"],
                    "operationId": "listK3fq7zn2aExampleComV1Widget",
                    "schema": ref("com.k3fq7zn2a-example.v1.Widget"),
                }
            }
        },
        "x-kubernetes-group-version-kind": {"group": "k3fq7zn2a-example.com"},
        "description": "kept: k3fq7zn2",
    }
    assert orjson.loads(plain(spec, "k3fq7zn2a", "k3fq7zn2a-example.com")) == {
        "paths": {
            "/apis/example.com/v1/widgets": {
                "get": {
                    "tags": ["exampleCom_v1"],
                    "operationId": "listExampleComV1Widget",
                    "schema": ref("com.example.v1.Widget"),
                }
            }
        },
        "x-kubernetes-group-version-kind": {"group": "example.com"},
        "description": "kept: k3fq7zn2",
    }


def test_plain_removes_the_identity_of_a_shared_group() -> None:
    group = "0kcpabcdefgh2345.example.com"
    spec = {
        "paths": {
            f"/apis/{group}/v1/widgets": {
                "get": {
                    "tags": ["kcpabcdefgh2345ExampleCom_v1"],
                    "operationId": "listKcpabcdefgh2345ExampleComV1Widget",
                    "schema": ref("com.example.0kcpabcdefgh2345.v1.Widget"),
                }
            }
        },
        "components": {"schemas": {}},
    }
    made = orjson.loads(plain(spec, "k3fq7zn2a", group))
    assert made["paths"] == {
        "/apis/example.com/v1/widgets": {
            "get": {
                "tags": ["exampleCom_v1"],
                "operationId": "listExampleComV1Widget",
                "schema": ref("com.example.v1.Widget"),
            }
        }
    }


def test_merged() -> None:
    one: Spec = {"openapi": "3", "paths": {"/b": 1}, "components": {"schemas": {"B": {}, "Meta": {}}}}
    other: Spec = {"openapi": "3", "paths": {"/a": 2}, "components": {"schemas": {"A": {}, "Meta": {}}}}
    assert merged([one]) is one
    assert merged([one, other]) == {
        "openapi": "3",
        "paths": {"/a": 2, "/b": 1},
        "components": {"schemas": {"A": {}, "B": {}, "Meta": {}}},
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"description": "d", "default": {}, "allOf": [ref("M")]}, {"description": "d", "$ref": "#/definitions/M"}),
        ({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
         {"format": "int-or-string", "type": "string"}),
        ({"oneOf": [{"type": "string"}, {"type": "number"}]}, {"type": "string"}),
        ({"type": "string", "nullable": True}, {}),
        ({"type": "object", "nullable": True, "properties": {"a": {"type": "string"}}}, {}),
        ({"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {}}},
         {"x-kubernetes-preserve-unknown-fields": True}),
        ({"type": "array", "x-kubernetes-preserve-unknown-fields": True, "items": {}},
         {"x-kubernetes-preserve-unknown-fields": True}),
        ({"type": "object", "anyOf": [{"required": ["a"]}], "not": {"required": ["b"]}, "allOf": [{"required": ["c"]}]},
         {"type": "object"}),
        ({"type": "object", "required": ["a", "b"], "properties": {"a": {"nullable": True}, "b": {"type": "string"}}},
         {"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}),
        ({"type": "object", "additionalProperties": {"type": "string", "default": "x"}},
         {"type": "object", "additionalProperties": {"type": "string"}}),
        ({"type": "object", "properties": {"default": {"type": "string"}, "oneOf": {"type": "integer"}}},
         {"type": "object", "properties": {"default": {"type": "string"}, "oneOf": {"type": "integer"}}}),
        ({"type": "array", "items": {"allOf": [ref("M")]}}, {"type": "array", "items": {"$ref": "#/definitions/M"}}),
        ({"additionalProperties": True}, {"additionalProperties": True}),
    ],
)  # fmt: skip
def test_schema_of_version_2(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    before = orjson.dumps(schema)
    assert schema_v2(schema) == expected
    assert orjson.dumps(schema) == before


def test_operation_of_version_2() -> None:
    body = {"content": {"application/json": {"schema": ref("M")}, "application/yaml": {"schema": ref("M")}}}
    spec = {
        "paths": {
            "/apis/a/v1/ms": {
                "parameters": [{"name": "pretty", "in": "query", "schema": {"type": "string", "uniqueItems": True}}],
                "post": {
                    "operationId": "createM",
                    "parameters": [{"name": "dryRun", "in": "query", "schema": {"type": "string"}}],
                    "requestBody": {**body, "required": True},
                    "responses": {"201": {"description": "Created", **body}, "401": {"description": "Unauthorized"}},
                },
            }
        },
        "components": {"schemas": {"M": {"type": "object"}}},
    }
    made = combined("Kubernetes", "1.36", [spec])
    assert made["paths"]["/apis/a/v1/ms"]["parameters"] == [
        {"name": "pretty", "in": "query", "type": "string", "uniqueItems": True}
    ]
    assert made["paths"]["/apis/a/v1/ms"]["post"] == {
        "schemes": ["https"],
        "operationId": "createM",
        "consumes": ["application/json", "application/yaml"],
        "produces": ["application/json", "application/yaml"],
        "parameters": [
            {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/M"}},
            {"name": "dryRun", "in": "query", "type": "string"},
        ],
        "responses": {
            "201": {"description": "Created", "schema": {"$ref": "#/definitions/M"}},
            "401": {"description": "Unauthorized"},
        },
    }
    assert made["definitions"] == {"M": {"type": "object"}}


@pytest.mark.parametrize(
    ("value", "encoded"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (-1, b"\xff" * 9 + b"\x01")]
)
def test_varint(value: int, encoded: bytes) -> None:
    assert varint(value) == encoded


def test_protobuf_of_a_small_document() -> None:
    """Written out by hand from gnostic's OpenAPIv2.proto."""
    document = {
        "swagger": "2.0",
        "definitions": {"M": {"x-a": 1, "type": "object", "maxLength": 300, "maximum": 1.5, "required": ["b", "a"]}},
    }
    schema = (
        b"\x39\0\0\0\0\0\0\xf8\x3f"  # 7: double 1.5
        b"\x58\xac\x02"  # 11: 300
        b"\x9a\x01\x01b\x9a\x01\x01a"  # 19: b, a
        b"\xb2\x01\x08\x0a\x06object"  # 22: {1: object}
        b"\xfa\x01\x0b\x0a\x03x-a\x12\x04\x12\x021\n"  # 31: {1: x-a, 2: {2: "1\n"}}
    )
    named = b"\x0a\x01M\x12" + bytes([len(schema)]) + schema
    definitions = b"\x0a" + bytes([len(named)]) + named
    assert encode_document(document) == b"\x0a\x032.0" + b"\x4a" + bytes([len(definitions)]) + definitions
