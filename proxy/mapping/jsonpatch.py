"""JSON patches (RFC 6902): each operation mapped as the part of an object that it touches.

The value is put where it belongs in an otherwise empty object, that object is mapped like any other body, and value
and path are read off again: one set of rules, and keys that are mapped (a quota's) change in the path as well.
"""

from __future__ import annotations

from typing import Any

from proxy.kube.errors import StatusError
from proxy.mapping.objects import RULES, Context, map_object, special
from proxy.mapping.shape import Object
from proxy.mapping.token import LABEL

MAX_STEPS = 100
MAX_OPERATIONS = 10_000
"""As a kube-apiserver (``maxJSONPatchOperations``)."""
LISTS = frozenset(
    {"subjects", "rules", "apiGroups", "resources", "resourceNames", "clusterRoleSelectors", "matchExpressions",
     "ownerReferences", "managedFields"}
)  # fmt: skip
"""Fields on the way to mapped ones that are lists: what follows in a path is an index, in whatever notation."""


_MOVES = frozenset({"move", "copy"})
_OPERATIONS = frozenset({"add", "remove", "replace", "test"}) | _MOVES


def map_json_patch(patch: Any, context: Context) -> Any:
    """What is no patch, and operations that there are not, go on as they are: one of them makes the shard refuse all
    (``json-patch.v4``). Raises StatusError 422 for an operation that cannot be mapped by itself."""
    if not isinstance(patch, list) or not all(isinstance(operation, dict | None) for operation in patch):
        return patch
    if len(patch) > MAX_OPERATIONS:
        raise StatusError(413, f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}")
    return [_operation(operation, context) for operation in patch]


def _operation(operation: Object | None, context: Context) -> Object | None:
    if operation is None or not isinstance(operation.get("op"), str) or operation["op"] not in _OPERATIONS:
        return operation
    moves = operation["op"] in _MOVES
    path = operation.get("path")
    source = operation.get("from") if moves else ""
    if not isinstance(path, str) or not isinstance(source, str):
        return operation
    mapped: Object = {"op": operation["op"]}
    if moves:
        for pointer in (path, source):
            if not _is_plain(steps_of(pointer), context):
                raise StatusError(422, f'patch operations "move" and "copy" may not touch "{pointer}" in a workspace')
        mapped["from"], _ = _map_at(source, None, context)
    if not path and operation["op"] == "replace" and "value" not in operation:
        raise StatusError(400, "replace operation value must be object or array")
    mapped["path"], value = _map_at(path, operation.get("value"), context)
    if "value" in operation:
        mapped["value"] = value
    if steps_of(path) == ["metadata", "labels"] and not moves:
        _keep_label(mapped, context)
    return mapped


def _keep_label(operation: Object, context: Context) -> None:
    """All labels at once hold the internal one as well, which the client does not know: a test would never be true."""
    value = operation.get("value")
    if operation["op"] == "remove":
        operation["op"], value = "replace", {}
    if isinstance(value, dict | None):
        operation["value"] = {**(value or {}), LABEL: context.prefix[:-1]}


def steps_of(pointer: str) -> list[str]:
    """Decoded reference tokens of a JSON pointer (RFC 6901); what stands before the first slash is ignored, as
    ``json-patch.v4`` does. Raises StatusError 400."""
    steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    if len(steps) > MAX_STEPS:
        raise StatusError(400, "a patch operation's path is too deep")
    return steps


def _map_at(pointer: str, value: Any, context: Context) -> tuple[str, Any]:
    """Pointer and value for the shard; None stands for no value."""
    steps = steps_of(pointer)
    if not steps and not isinstance(value, dict):
        return pointer, value  # no object can come of it
    whole = value
    for at in range(len(steps) - 1, -1, -1):
        indexed = at > 0 and steps[at - 1] in LISTS
        whole = ([] if whole is None else [whole]) if indexed else {steps[at]: whole}
    whole = map_object(whole, context)
    mapped = []
    for step in steps:
        if len(whole) > 1:
            raise StatusError(422, f'a patch cannot change "{pointer}" alone in a workspace: give the entry around it')
        key, whole = next(iter(whole.items())) if isinstance(whole, dict) else (step, whole[0] if whole else None)
        mapped.append(key)
    head = pointer.partition("/")[0]
    return head + "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in mapped), whole


def _is_plain(steps: list[str], context: Context) -> bool:
    """Whether what stands there, or under it, is never mapped: it may be moved about by the shard itself."""
    if steps[:1] == ["metadata"]:
        return len(steps) >= 3 and steps[1] in ("labels", "annotations")
    return bool(steps) and steps[0] != "apiVersion" and special(RULES, context.info) is None
