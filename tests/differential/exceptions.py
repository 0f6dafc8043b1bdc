"""Differences that stay, each narrow and with its reason; the README's table says the same to users."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.differential.sides import Answer, is_watch
from tests.differential.step import Step


@dataclass(frozen=True, slots=True)
class Known:
    name: str
    reason: str
    applies: Callable[[Step, Answer, Answer, Sequence[str]], bool]
    """Of a request, the answers of the plain side and the workspace, and the lines in which they differ."""


def _text(answer: Answer) -> str:
    return answer.body.decode("utf-8", "replace")


def _media(step: Step) -> str:
    return next((value for name, value in step.headers if name == "Content-Type"), "")


def _header_only(*names: str) -> Callable[[Step, Answer, Answer, Sequence[str]], bool]:
    return lambda step, plain, workspace, changed: all(line[1:].startswith(names) for line in changed)


def _causes(answer: Answer) -> list[str]:
    return sorted(map(str, ((answer.json() or {}).get("details") or {}).get("causes") or ()))


_DANGLING = re.compile(r": RBAC: [^\n]*not found\]?")


def _is_set(line: str) -> bool:
    return line[1:].strip() == '".": {},'


_SET_ALONE = frozenset({'".": {}', '"f:labels": {', '"f:metadata": {', "}", "},"})


def _is_set_of_labels(changed: Sequence[str]) -> bool:
    return all(line[0] == "+" and line[1:].strip() in _SET_ALONE for line in changed) and any(
        line.endswith('"f:labels": {') for line in changed
    )


_AUDIENCES = re.compile(r'\s*("f?:?audiences"|"https://kubernetes\.default\.svc"|[\]\[{}]+,?$|"spec": )')
_BYTES = re.compile(r" \([0-9a-f]+\)")
_ONCE = r' \\"system:authenticated\\"'
_TWICE = re.compile(re.escape(' \\"system:authenticated\\"' * 2))


KNOWN: tuple[Known, ...] = (
    Known(
        "bindings to nothing",
        "a 403 does not say which bindings name roles that are not there: decisions are made from rules, not bindings",
        lambda step, plain, workspace, changed: (
            plain.status == workspace.status == 403
            and all(
                _DANGLING.sub("", line[1:]) in {other[1:] for other in changed if other[0] == "+"} for line in changed
            )
        ),
    ),
    Known(
        "groups twice",
        "the shard adds system:authenticated to the workspace's own, and names both where it refuses an escalation",
        lambda step, plain, workspace, changed: (
            plain.status == workspace.status == 403
            and {line[1:] for line in changed if line[0] == "-"}
            == {_TWICE.sub(_ONCE, line[1:]) for line in changed if line[0] == "+"}
        ),
    ),
    Known(
        "discovery with ETag",
        "every discovery document carries ETag and Vary, not the aggregated ones alone",
        _header_only("etag:", "vary:"),
    ),
    Known(
        "headers of OpenAPI",
        "parts of documents are not given out, nor times at which a worker may have read them",
        lambda step, plain, workspace, changed: (
            step.target.startswith("/openapi/")
            and all(line[1:].startswith(("accept-ranges:", "last-modified:", "vary:")) for line in changed)
        ),
    ),
    Known(
        "no hashes of storage versions",
        "what they are made of is the shard's, not the workspace's",
        lambda step, plain, workspace, changed: all(
            '"storageVersionHash"' in line or "etag:" in line or "vary:" in line for line in changed
        ),
    ),
    Known(
        "set of labels",
        "an object has a label of the shard's own, so that the set of labels is there before its first owner",
        lambda step, plain, workspace, changed: all(_is_set(line) for line in changed),
    ),
    Known(
        "owner of the set of labels",
        "the first objects of a new CRD are sent with that label",
        lambda step, plain, workspace, changed: _is_set_of_labels(changed),
    ),
    Known(
        "names that would be legal behind a prefix",
        "they are refused by themselves, before anything else of the object is looked at",
        lambda step, plain, workspace, changed: (
            plain.status == workspace.status == 422
            and {*_causes(workspace)} < {*_causes(plain)}
            and all("'metadata.name'" in cause or "'metadata.labels'" in cause for cause in _causes(workspace))
        ),
    ),
    Known(
        "labels that are there",
        "a JSON patch finds labels in each object: the shard's own stands there",
        lambda step, plain, workspace, changed: (
            plain.status == 422
            and workspace.status == 200
            and "json-patch" in _media(step)
            and b'"/metadata/labels' in step.body
        ),
    ),
    Known(
        "evaluation errors of rules reviews",
        "a workspace's administrator is asked about as the shard's",
        lambda step, plain, workspace, changed: (
            "selfsubjectrulesreviews" in step.target and all('"evaluationError"' in line for line in changed)
        ),
    ),
    Known(
        "paths that can be read in two ways",
        "escaped slashes, dots and the like are refused before anything else",
        lambda step, plain, workspace, changed: (
            workspace.status == 400 and "invalid request path: " in _text(workspace)
        ),
    ),
    Known(
        "media types in the words of a 406",
        "answers are JSON alone",
        lambda step, plain, workspace, changed: (
            plain.status == workspace.status == 406
            and all("the following media types are accepted" in line for line in changed)
        ),
    ),
    Known(
        "numbers and depth of JSON",
        "a body with a number beyond a double, or more than a thousand levels deep, is refused at once",
        lambda step, plain, workspace, changed: (
            workspace.status == 400 and "a number is too large or it is nested too deeply" in _text(workspace)
        ),
    ),
    Known(
        "kind of a custom resource",
        "a wrong one is refused by itself, before anything else of the object is looked at",
        lambda step, plain, workspace, changed: (
            workspace.status == 422
            and ": must be " in _text(workspace)
            and '"field":"kind"' in _text(workspace).replace(" ", "")
        ),
    ),
    Known(
        "audiences of token requests",
        "a request that names no audience becomes one that names the server's own, and its fields are managed",
        lambda step, plain, workspace, changed: (
            step.target.partition("?")[0].endswith("/token") and all('"f:audiences"' in line for line in changed)
        ),
    ),
    Known(
        "keys that stand twice in YAML",
        "YAML is read before it is sent",
        lambda step, plain, workspace, changed: (
            "yaml" in _media(step) and all("already set in map" in line for line in changed)
        ),
    ),
    Known(
        "selectors that begin with a comma",
        "something stands before them on the shard, which then expects something else",
        lambda step, plain, workspace, changed: (
            plain.status == workspace.status == 400 and "labelSelector=%2C" in step.target
        ),
    ),
    Known(
        "fields twice in what stands twice",
        "of the earlier of two objects a custom resource keeps nothing, so nothing is said of what stands in it",
        lambda step, plain, workspace, changed: (
            plain.header("warning").count("duplicate field") > workspace.header("warning").count("duplicate field") > 0
            and all(line.startswith('-warning: 299 - "duplicate field') or _is_set(line) for line in changed)
        ),
    ),
    Known(
        "order of conflicts",
        "those of server-side apply are in the order of managers' writes, to the second",
        lambda step, plain, workspace, changed: (
            plain.status == workspace.status == 409 and _causes(plain) == _causes(workspace) != []
        ),
    ),
    Known(
        "order of schema errors",
        "server-side apply says them in the order in which Go walks a map: another one each time",
        lambda step, plain, workspace, changed: (
            plain.status == workspace.status == 500
            and all("failed to create typed patch object" in _text(answer) for answer in (plain, workspace))
        ),
    ),
    Known(
        "names that are too long",
        "names grow by the ten characters of a token on the shard",
        lambda step, plain, workspace, changed: workspace.status == 422 and "bytes in a workspace" in _text(workspace),
    ),
    Known(
        "methods that there are not",
        "they are refused before anything else is said, a warning of an old version say",
        lambda step, plain, workspace, changed: (
            step.method in ("OPTIONS", "TRACE", "PROPFIND")
            and (
                all(line[1:].startswith("warning:") for line in changed)
                or (workspace.status == 405 and "invalid timeout" in _text(plain))
            )
        ),
    ),
    Known(
        "timeouts that are none",
        "who may not do something is told that first",
        lambda step, plain, workspace, changed: (
            plain.status == 400 and workspace.status == 403 and "invalid timeout" in _text(plain)
        ),
    ),
    Known(
        "refusals of watches",
        "they are not indented",
        lambda step, plain, workspace, changed: (
            is_watch(step.target) and plain.status >= 400 and all("line break at the end" in line for line in changed)
        ),
    ),
    Known(
        "protobuf for custom resources",
        "a kube-apiserver closes the connection where it is asked to read some",
        lambda step, plain, workspace, changed: (
            "protobuf" in _media(step) and (plain.status == 0 or "not a valid protobuf message" in _text(workspace))
        ),
    ),
    Known(
        "what all may read",
        "discovery is open to all who may enter a workspace, by no binding that a review could name",
        lambda step, plain, workspace, changed: (
            "accessreviews" in step.target
            and b"nonResourceAttributes" in step.body
            and plain.status == workspace.status == 201
            and all(line[1:].lstrip().startswith(('"reason"', '"allowed"', '"status"', "}")) for line in changed)
        ),
    ),
    Known(
        "part of a subject",
        "a patch of a name without its kind cannot be mapped",
        lambda step, plain, workspace, changed: (
            step.method == "PATCH"
            and workspace.status == 422
            and any(word in _text(workspace) for word in ("Unsupported value", "subjects.kind: Required value"))
        ),
    ),
    Known(
        "text of YAML errors",
        "YAML is read before it is sent, by another library than Go's",
        lambda step, plain, workspace, changed: (
            "yaml" in _media(step) and workspace.status == 400 and "error decoding YAML: " in _text(workspace)
        ),
    ),
    Known(
        "bytes of a custom resource in YAML",
        "YAML is read before it is sent, as JSON",
        lambda step, plain, workspace, changed: (
            "yaml" in _media(step)
            and plain.status == workspace.status == 400
            and len({_BYTES.sub("", line[1:]) for line in changed}) == 1
        ),
    ),
    Known(
        "audiences of token reviews",
        "a review that names no audience is answered as one that names the server's own",
        lambda step, plain, workspace, changed: (
            "/tokenreviews" in step.target
            and plain.status == workspace.status == 201
            and all(_AUDIENCES.match(line[1:]) for line in changed)
        ),
    ),
    Known(
        "part of an owner reference",
        "an entry without kind and apiVersion in a patch may belong to one whose name is to be mapped",
        lambda step, plain, workspace, changed: (
            workspace.status == 422
            and "an entry needs apiVersion and kind" in _text(workspace)
            and step.method == "PATCH"
        ),
    ),
    Known(
        "moves of what is mapped",
        "a shard would move names that nobody has mapped",
        lambda step, plain, workspace, changed: (
            workspace.status == 422 and "in a workspace" in _text(workspace) and "json-patch" in _media(step)
        ),
    ),
)


def known(step: Step, plain: Answer, workspace: Answer, changed: Sequence[str]) -> Known | None:
    return next((entry for entry in KNOWN if entry.applies(step, plain, workspace, changed)), None)
