"""Request bodies in every encoding: decoded, mapped, encoded again; what cannot be read is refused."""

from __future__ import annotations

from typing import Any

import orjson
import yaml

from proxy.kube.errors import StatusError
from proxy.mapping.objects import Context, map_object
from proxy.mapping.protobuf import map_protobuf

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCHES = frozenset({"application/merge-patch+json", "application/strategic-merge-patch+json"})
BODIES = frozenset({JSON, YAML, PROTOBUF})
PATCHES = MERGE_PATCHES | {APPLY, JSON_PATCH}
MAX_DEPTH = 200


def map_body(body: bytes, content_type: str, context: Context) -> tuple[bytes, str]:
    """The body for the shard and its content type.

    Raises StatusError: 415 for a content type that the verb does not take, 400 for a malformed body, 422 for content
    that cannot be mapped.
    """
    media = content_type.partition(";")[0].strip().lower() or JSON
    accepted = PATCHES if context.info.verb == "patch" else BODIES
    if media not in accepted:
        raise unsupported(media, accepted)
    if context.prefix.encode() in body:
        raise literal_token(context)
    if media == PROTOBUF:
        return map_protobuf(body, context), PROTOBUF
    value = _load_yaml(body) if media in (YAML, APPLY) else _load_json(body)
    # An escape may have hidden the token from the look at the raw bytes.
    if (b"\\" in body or media in (YAML, APPLY)) and context.prefix.encode() in orjson.dumps(value):
        raise literal_token(context)
    if media == JSON_PATCH:
        return orjson.dumps(_json_patch(value, context)), media
    if not isinstance(value, dict):
        raise StatusError(400, f"the object provided is unrecognized: expected a JSON object, got {_kind(value)}")
    return orjson.dumps(map_object(value, context)), APPLY if media == APPLY else (media if media != YAML else JSON)


def _load_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise StatusError(400, f"the object provided is unrecognized (must be of type JSON): {error}") from None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as sigs.k8s.io/yaml reads it: no timestamps, no duplicate keys, no aliases that explode."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "merge keys are not accepted", key_node.start_mark)
            if isinstance(key, bool):
                key = "true" if key else "false"
            elif not isinstance(key, str):
                key = str(key)
            if key in mapping:
                raise yaml.constructor.ConstructorError(None, None, f'key "{key}" already set', key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases are not accepted", None)
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node, deep=True))


def _load_yaml(body: bytes) -> Any:
    try:
        return orjson.loads(body)  # kubectl sends apply configurations as JSON under YAML's name
    except orjson.JSONDecodeError:
        pass
    try:
        return yaml.load(body, Loader=_Loader)  # noqa: S506
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        line = " ".join(str(error).split())[:300]
        raise StatusError(400, f"error decoding YAML: {line}") from None


def _json_patch(value: Any, context: Context) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(operation, dict) for operation in value):
        raise StatusError(400, "the patch provided is not a list of operations")
    return [_operation(operation, context) for operation in value]


def _operation(operation: dict[str, Any], context: Context) -> dict[str, Any]:
    """One operation of RFC 6902: its value is mapped as the part of an object that it stands for."""
    path = operation.get("path")
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise StatusError(400, "a patch operation has no valid path")
    steps = [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]
    if len(steps) > MAX_DEPTH:
        raise StatusError(400, "a patch operation's path is too deep")
    source = operation.get("from")
    if source is not None and (_sensitive(str(source)) or _sensitive(path)):
        raise StatusError(422, f'patch operations "move" and "copy" may not touch {path or source} in a workspace')
    if "value" not in operation:
        return operation
    # The value is put where it belongs in an otherwise empty object, mapped there, and taken out again.
    whole: Any = operation["value"]
    for step in reversed(steps):
        whole = [whole] if step == "-" or step.isdigit() else {step: whole}
    if not isinstance(whole, dict):
        return operation
    mapped: Any = map_object(whole, context)
    for step in steps:
        mapped = (
            mapped[0] if isinstance(mapped, list) else mapped[step] if step in mapped else next(iter(mapped.values()))
        )
    if steps[:1] == ["subjects"] and len(steps) > 2:
        raise StatusError(422, "subjects can only be patched as a whole in a workspace")
    if steps[:1] == ["roleRef"] and len(steps) > 1:
        raise StatusError(422, "roleRef cannot be changed")
    if steps[:1] == ["rules"] and len(steps) > 2:
        raise StatusError(422, "rules can only be patched as a whole in a workspace")
    if steps[:2] == ["metadata", "ownerReferences"] and len(steps) > 3:
        raise StatusError(422, "owner references can only be patched as a whole in a workspace")
    return {**operation, "path": _map_pointer(steps, context), "value": mapped}


def _map_pointer(steps: list[str], context: Context) -> str:
    """Pointers name mapped keys in one place only: the counted kinds of a quota."""
    if context.info.resource == "resourcequotas" and len(steps) == 3 and steps[1] == "hard":
        mapped = map_object({"spec": {"hard": {steps[2]: ""}}}, context)
        steps = [*steps[:2], next(iter(mapped["spec"]["hard"]))]
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _sensitive(pointer: str) -> bool:
    first = pointer.split("/")[1:3]
    if first[:1] == ["metadata"]:
        return first[1:] not in (["labels"], ["annotations"])
    return first[:1] in ([], ["subjects"], ["roleRef"], ["rules"], ["involvedObject"], ["regarding"])


def unsupported(media: str, accepted: frozenset[str]) -> StatusError:
    listed = ", ".join(sorted(accepted))
    return StatusError(
        415,
        f"the body of the request was in an unknown format - accepted media types include: {listed} (got {media[:80]})",
    )


def literal_token(context: Context) -> StatusError:
    return StatusError(
        422,
        f'the body of the request holds "{context.prefix}", which is reserved in this workspace and would not be kept',
        reason="Invalid",
    )


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else type(value).__name__
