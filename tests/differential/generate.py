"""Sequences of requests, from a seed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import quote

import yaml

from tests.differential import spoil
from tests.differential.kinds import CRD, KINDS, NAMESPACES, OWN, Kind, Object
from tests.differential.spoil import dump
from tests.differential.step import GUEST, MASTER, WORLD, Step

BAD = 0.3
"""Part of the requests that are spoilt."""
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
JSON, YAML = "application/json", "application/yaml"
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
LABEL_SELECTORS = ("part-of=" + WORLD, "tier=a", "tier!=a", "tier in (a,b)", "!tier", "tier", "tier notin (b),part-of")


class Sequence:
    """Steps for one world; ``number`` of them."""

    def __init__(self, seed: str, number: int) -> None:
        self._rng = Random(seed)
        self._next = 0
        self._touched: dict[str, int] = {}
        self._lists: dict[str, int] = {}
        self.steps: list[Step] = []
        if self._rng.random() < 0.4:
            self._create(next(kind for kind in KINDS if kind.group == CRD))
        while len(self.steps) < number:
            self._add()

    def _add(self) -> None:
        rng = self._rng
        kinds = [kind.weight for kind in KINDS]
        kind = rng.choices(KINDS, kinds)[0]
        ways: tuple[tuple[Callable[[Kind], None], int], ...] = (
            (self._create, 22), (self._get, 8), (self._list, 12), (self._watch, 3), (self._update, 8),
            (self._patch, 16), (self._apply, 8), (self._delete, 7), (self._delete_collection, 1),
            (self._subresource, 7), (self._review, 4), (self._strange, 8), (self._document, 2),
        )  # fmt: skip
        rng.choices([way for way, _ in ways], [weight for _, weight in ways])[0](kind)

    # Parts of requests

    def _step(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: bytes = b"",
        *,
        settle: str = "",
        proto: bool = False,
    ) -> Step:
        rng = self._rng
        if rng.random() < BAD * 0.25:
            target += ("&" if "?" in target else "?") + rng.choice(spoil.QUERIES)
        if rng.random() < BAD * 0.15:
            headers["Accept"] = rng.choice(spoil.ACCEPTS)
        if body and rng.random() < BAD * 0.15:
            headers["Content-Type"] = rng.choice(spoil.CONTENT_TYPES)
        if body and rng.random() < BAD * 0.25:
            body = spoil.text(body, rng)
        if rng.random() < BAD * 0.04 and target.partition("?")[0].count("/") < 8:
            method = _sparing(rng.choice(spoil.METHODS), target)
        if b"ownerReferences" in body and "dryRun=All" not in target:
            # The garbage collector would act on it, at its own time.
            target += ("&" if "?" in target else "?") + "dryRun=All"
        if rng.random() < 0.03:
            headers["User-Agent"] = rng.choice(("curl/8", "kubectl/v1.36.3", "Mozilla/5.0"))
        if rng.random() < 0.05:
            headers["Accept-Encoding"] = "gzip"
        if rng.random() < 0.03:
            headers["Audit-ID"] = "0f7c5a52-1111-4222-8333-444444444444"
        user = GUEST if rng.random() < 0.06 else MASTER
        pairs = tuple((name, value) for name, value in headers.items() if value or name != "Content-Type")
        step = Step(self._next, method, target, pairs, body, user, settle, proto)
        self._next += 1
        self.steps.append(step)
        return step

    def _place(self, kind: Kind) -> tuple[str | None, str]:
        """Namespace and path of the collection."""
        namespace = self._rng.choices(NAMESPACES, (3, 1))[0] if kind.namespaced else None
        if kind.plural == "resourcequotas":
            namespace = f"{WORLD}q"  # where it hinders nobody
        return namespace, kind.path(namespace)

    def _name(self, kind: Kind) -> str:
        if kind.group == CRD:
            return f"things.{OWN}"
        return kind.name(self._rng)

    def _body(self, kind: Kind, namespace: str | None, name: str | None) -> Object:
        rng = self._rng
        meta: Object = {"name": name} if name else {"generateName": "gen-" if kind.namespaced else f"{WORLD}-gen-"}
        if namespace and rng.random() < 0.3:
            meta["namespace"] = namespace
        if rng.random() < 0.6:
            meta["labels"] = {"part-of": WORLD, "tier": rng.choice("ab")}
        if rng.random() < 0.2:
            meta["annotations"] = {"note": rng.choice(("", "ü", '{"a":1}'))}
        if rng.random() < 0.05 and kind.plural not in ("namespaces", "customresourcedefinitions"):
            meta["finalizers"] = ["example.com/hold"]
        if rng.random() < 0.05:
            meta["ownerReferences"] = rng.choice(spoil.OWNERS[:6])
        body: Object = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta}
        body |= copy.deepcopy(kind.content(rng))
        for key in ("involvedObject", "regarding"):
            if key in body:
                body[key]["namespace"] = namespace
        if rng.random() < BAD * 0.6:
            body = spoil.object_(body, rng)
        return body

    def _written(self, body: Object) -> tuple[bytes, str, bool]:
        """Bytes, content type, and whether they are to become protobuf."""
        way = self._rng.random()
        if way < 0.8:
            return dump(body), JSON, False
        if way < 0.9:
            return yaml.safe_dump(body, sort_keys=False, allow_unicode=True).encode(), YAML, False
        return dump(body), JSON, True

    def _write_query(self) -> str:
        rng = self._rng
        options = (
            (0.1, "dryRun=All"), (0.1, "fieldValidation=Strict"), (0.05, "fieldValidation=Warn"),
            (0.05, "fieldValidation=Ignore"), (0.1, "fieldManager=tests"),
        )  # fmt: skip
        chosen = [option for odds, option in options if rng.random() < odds]
        return "?" + "&".join(chosen) if chosen else ""

    def _accept(self, *forms: str) -> dict[str, str]:
        rng = self._rng
        return {"Accept": rng.choice(forms) if rng.random() < 0.3 else "application/json"}

    # Requests

    def _create(self, kind: Kind) -> None:
        rng = self._rng
        namespace, path = self._place(kind)
        generated = rng.random() < 0.06 and kind.group != CRD
        name = None if generated else self._name(kind)
        body, media, proto = self._written(self._body(kind, namespace, name))
        headers = self._accept(TABLE, PARTIAL) | {"Content-Type": media}
        settle = f"{path}/{name}" if kind.plural in ("namespaces", "customresourcedefinitions") else ""
        step = self._step("POST", path + self._write_query(), headers, body, settle=settle, proto=proto)
        if name:
            self._touched[f"{path}/{name}"] = step.id

    def _get(self, kind: Kind) -> None:
        path = f"{self._place(kind)[1]}/{self._name(kind)}"
        query = self._rng.choice(("", "", "", "?resourceVersion=0", "?pretty=true", "?pretty=false"))
        self._remember(path, self._step("GET", path + query, self._accept(TABLE, PARTIAL, "*/*", "")))

    def _remember(self, path: str, step: Step) -> None:
        if "/resourcequotas/" not in path:  # whose controller writes new versions at its own time
            self._touched[path] = step.id

    def _list(self, kind: Kind) -> None:
        rng = self._rng
        path = self._place(kind)[1]
        if rng.random() < 0.3:
            path = kind.path(None)
        step = self._step("GET", path + self._list_query(kind, path), self._accept(TABLE, PARTIALS, PARTIAL))
        self._lists[path] = step.id

    def _list_query(self, kind: Kind, path: str) -> str:
        rng = self._rng
        query: list[str] = []
        if rng.random() < 0.3:
            query.append("labelSelector=" + quote(rng.choice(LABEL_SELECTORS)))
        if rng.random() < 0.2:
            key = rng.choice(kind.fields)
            operator = rng.choice(("=", "!=", "=="))
            value = rng.choice((self._name(kind), *NAMESPACES, "Opaque", "Made", "red"))
            query.append("fieldSelector=" + quote(f"{key}{operator}{value}"))
        if rng.random() < 0.2:
            query.append(f"limit={rng.choice((1, 2, 3, 500))}")
        last = self._lists.get(path)
        way = rng.random()
        if last is not None and way < 0.15:
            query.append(f"continue=@continue:{last}@")
        elif last is not None and way < 0.3:
            match = rng.choice(("", "&resourceVersionMatch=Exact", "&resourceVersionMatch=NotOlderThan"))
            query.append(f"resourceVersion=@rv:{last}@{match}")
        elif way < 0.4:
            query.append("resourceVersion=0")
        elif way < 0.43 and self._lists:
            query.append(f"continue=@continue:{rng.choice(list(self._lists.values()))}@")
        return "?" + "&".join(query) if query else ""

    def _watch(self, kind: Kind) -> None:
        rng = self._rng
        path = self._place(kind)[1] if rng.random() < 0.8 else kind.path(None)
        last = self._lists.get(path)
        start = rng.choice(("", "&resourceVersion=0", "&resourceVersion=abc"))
        if last is not None and rng.random() < 0.5:
            start = f"&resourceVersion=@rv:{last}@"
        if rng.random() < 0.3:
            start = "&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
        timeout = rng.choice(("", "&timeoutSeconds=1", "&timeoutSeconds=60", "&timeoutSeconds=0"))
        bookmarks = rng.choice(("", "", "&allowWatchBookmarks=true"))
        selector = "&labelSelector=" + quote(rng.choice(LABEL_SELECTORS)) if rng.random() < 0.3 else ""
        accept = self._accept(TABLE, PARTIAL, "application/json;stream=watch")
        self._step("GET", f"{path}?watch={rng.choice(('1', 'true'))}{start}{timeout}{bookmarks}{selector}", accept)

    def _update(self, kind: Kind) -> None:
        rng = self._rng
        namespace, path = self._place(kind)
        name = self._name(kind)
        path = f"{path}/{name}"
        content = self._body(kind, namespace, name)
        last = self._touched.get(path)
        if isinstance(content.get("metadata"), dict) and rng.random() < 0.5:
            content["metadata"]["resourceVersion"] = f"@rv:{last}@" if last is not None else "1"
            if rng.random() < 0.2:
                content["metadata"]["uid"] = f"@uid:{last}@" if last is not None else "u"
        body, media, _ = self._written(content)
        settle = path if kind.plural in ("namespaces", "customresourcedefinitions") else ""
        self._remember(
            path,
            self._step(
                "PUT", path + self._write_query(), self._accept(TABLE) | {"Content-Type": media}, body, settle=settle
            ),
        )

    def _patch(self, kind: Kind) -> None:
        rng = self._rng
        namespace, path = self._place(kind)
        name = self._name(kind)
        path = f"{path}/{name}"
        whole = self._body(kind, namespace, name)
        if rng.random() < 0.4:
            media, patch = JSON_PATCH, self._json_patch(whole)
        else:
            media = rng.choice((MERGE, STRATEGIC))
            patch = self._merge_patch(whole)
            if rng.random() < 0.1 and isinstance(patch.get("metadata"), dict) and path in self._touched:
                patch["metadata"]["resourceVersion"] = f"@rv:{self._touched[path]}@"
        headers = self._accept(TABLE) | {"Content-Type": media}
        settle = path if kind.plural in ("namespaces", "customresourcedefinitions") else ""
        query = self._write_query() + ""
        self._remember(path, self._step("PATCH", path + query, headers, dump(patch), settle=settle))

    def _merge_patch(self, whole: Object) -> Any:
        rng = self._rng
        choices: list[Any] = [
            {"metadata": {"labels": {"tier": rng.choice("abc")}}},
            {"metadata": {"labels": None, "annotations": {"k": "v"}}},
            {"metadata": {"finalizers": None}},
            {key: value for key, value in whole.items() if key not in ("apiVersion", "kind", "metadata")},
            {},
            whole,
            spoil.object_({"metadata": {}}, rng),
            {"metadata": {"labels": {"$patch": "delete"}}},
            {"$patch": "replace", "data": {"q": "1"}},
            {"rules": None, "subjects": None, "data": None},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/hold"]}},
            {"spec": {"size": rng.choice((1, 50, 101, "x"))}},
        ]
        return rng.choice(choices)

    def _json_patch(self, whole: Object) -> Any:
        rng = self._rng
        key = rng.choice([key for key in whole if key not in ("apiVersion", "kind")] or ["data"])
        operations: list[Any] = [
            {"op": "add", "path": "/metadata/labels", "value": {"tier": "j"}},
            {"op": "add", "path": "/metadata/labels/tier", "value": rng.choice(("k", 1, None))},
            {"op": "remove", "path": "/metadata/labels/tier"},
            {"op": "replace", "path": f"/{key}", "value": whole.get(key)},
            {"op": "add", "path": f"/{key}", "value": whole.get(key)},
            {"op": "remove", "path": f"/{key}"},
            {"op": "test", "path": "/metadata/labels/tier", "value": "a"},
            {"op": "test", "path": "/kind", "value": whole.get("kind")},
            {"op": "test", "path": "/metadata/name", "value": whole.get("metadata", {}) and "x"},
            {"op": "copy", "from": "/metadata/labels/tier", "path": "/metadata/labels/copy"},
            {"op": "move", "from": "/metadata/labels/tier", "path": "/metadata/annotations/moved"},
            {"op": "replace", "path": "/metadata/name", "value": "other"},
            {"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/hold"},
            {"op": "remove", "path": "/metadata/finalizers"},
            {"op": "add", "path": "/data/n~1ew", "value": "v"},
            {"op": "replace", "path": "/spec/size", "value": rng.choice((7, -7, "x"))},
            {"op": "add", "path": "/rules/-", "value": {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}},
            {"op": "add", "path": "/rules/0/apiGroups/-", "value": "example.com"},
            {"op": "add", "path": "/subjects/0/name", "value": "bob"},
            {"op": "remove", "path": "/subjects/0"},
            {"op": "add", "path": "/spec/hard/count~1gadgets.example.com", "value": "5"},
        ]
        bad: list[Any] = [
            {"op": "nothing", "path": "/data"}, {"op": "add"}, {"path": "/data"}, {},
            {"op": "add", "path": "data", "value": 1},
            {"op": "add", "path": "/data"}, {"op": "add", "path": "", "value": {}}, {"op": "remove", "path": ""},
            {"op": "move", "path": "/data"}, {"op": "add", "path": 5, "value": 1}, "x", None, [],
            {"op": "replace", "path": "/a/b/c/d", "value": 1}, {"op": "test", "path": "/nothing", "value": None},
            {"op": "copy", "from": "/metadata", "path": "/data"}, {"op": "add", "path": "/metadata", "value": None},
            {"op": "add", "path": "/x~2y", "value": 1}, {"op": "add", "path": "/rules/99", "value": {}},
        ]  # fmt: skip
        chosen = rng.sample(operations, rng.randint(1, 2)) + (rng.sample(bad, 1) if rng.random() < BAD else [])
        return rng.choice((chosen, chosen, chosen, chosen, chosen, chosen[0], {"a": 1}, []))

    def _apply(self, kind: Kind) -> None:
        rng = self._rng
        namespace, path = self._place(kind)
        name = self._name(kind)
        path = f"{path}/{name}"
        body = self._body(kind, namespace, name)
        query = f"?fieldManager={rng.choice(('one', 'two'))}" if rng.random() < 0.93 else "?"
        query += "&force=true" if rng.random() < 0.3 else ""
        query += rng.choice(("", "", "", "", "&dryRun=All", "&fieldValidation=Strict"))
        raw = dump(body) if rng.random() < 0.5 else yaml.safe_dump(body, allow_unicode=True).encode()
        settle = path if kind.plural in ("namespaces", "customresourcedefinitions") else ""
        self._remember(path, self._step("PATCH", path + query, {"Content-Type": APPLY}, raw, settle=settle))

    def _delete(self, kind: Kind) -> None:
        rng = self._rng
        path = f"{self._place(kind)[1]}/{self._name(kind)}"
        last = self._touched.get(path, 0)
        options: list[Any] = [
            None,
            None,
            None,
            {"apiVersion": "v1", "kind": "DeleteOptions"},
            {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": f"@uid:{last}@"}},
            {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}},
            {"preconditions": {"resourceVersion": f"@rv:{last}@"}},
            {"propagationPolicy": rng.choice(("Background", "Orphan", "Foo", 1))},
            {"gracePeriodSeconds": rng.choice((0, 5, -1, "x"))},
            {"dryRun": ["All"]},
            {"dryRun": ["Some"]},
            {"kind": "ConfigMap", "apiVersion": "v1"},
            {"kind": "DeleteOptions", "apiVersion": rng.choice(("apps/v1", "example.com/v1", "meta.k8s.io/v1", "v9"))},
            {"orphanDependents": True, "propagationPolicy": "Orphan"},
            {"unknown": 1},
        ]
        body = rng.choice(options)
        query = rng.choice(("", "", "", "", "?dryRun=All", "?propagationPolicy=Background", "?gracePeriodSeconds=0"))
        headers = self._accept(PARTIAL) | ({"Content-Type": JSON} if body is not None else {})
        settle = path if kind.plural in ("namespaces", "customresourcedefinitions") or "Orphan" in str(body) else ""
        self._step("DELETE", path + query, headers, dump(body) if body is not None else b"", settle=settle)

    def _delete_collection(self, kind: Kind) -> None:
        rng = self._rng
        if kind.plural in ("namespaces", "customresourcedefinitions", "serviceaccounts"):
            return
        path = self._place(kind)[1] if kind.namespaced else kind.path(None)
        own = "labelSelector=" + quote(rng.choice((f"part-of={WORLD}", f"part-of={WORLD},tier=a")))
        query = rng.choice(
            ("", "&dryRun=All", "&limit=1", "&propagationPolicy=Background", "&fieldSelector=metadata.name%3Dx")
        )
        self._step("DELETE", f"{path}?{own}{query}", self._accept(TABLE))

    def _subresource(self, kind: Kind) -> None:
        rng = self._rng
        if not kind.subresources:
            kind = rng.choice([kind for kind in KINDS if kind.subresources])
        namespace, path = self._place(kind)
        name = "default" if kind.plural == "serviceaccounts" and rng.random() < 0.5 else self._name(kind)
        whole = f"{path}/{name}"
        sub = rng.choice(kind.subresources)
        path = f"{whole}/{sub}"
        if kind.plural == "namespaces" and sub == "finalize":
            method = rng.choice(("PUT", "GET", "PATCH"))
        else:
            method = "POST" if sub == "token" else rng.choice(("GET", "PUT", "PATCH", "PATCH"))
        body: Object = self._body(kind, namespace, name)
        if sub == "scale":
            body = {
                "apiVersion": "autoscaling/v1",
                "kind": "Scale",
                "metadata": {"name": name},
                "spec": {"replicas": rng.choice((1, 7, -1, 200))},
            }
            if namespace:
                body["metadata"]["namespace"] = namespace
        elif sub == "token":
            audiences = rng.choice((["a"], [], None, ["a", "b"], "x"))
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": audiences}}
            body["spec"]["expirationSeconds"] = rng.choice((600, 3600, 5, None, -1))
        elif sub == "status":
            body["status"] = rng.choice(
                ({"replicas": 2}, {"replicas": "x"}, {"phase": "Active"}, {}, {"unknown": 1}, 5)
            )
        if sub in ("scale", "token") and rng.random() < BAD:
            body = spoil.object_(body, rng)
        if method == "GET":
            self._step("GET", path, self._accept(TABLE))
            return
        media = JSON if method != "PATCH" else rng.choice((MERGE, STRATEGIC, APPLY))
        query = self._write_query() if media != APPLY else "?fieldManager=one&force=true"
        if method == "PATCH" and media != APPLY:
            body = {key: value for key, value in body.items() if key in ("status", "spec")} or {"metadata": {}}
        settle = whole if kind.plural in ("namespaces", "customresourcedefinitions") else ""
        step = self._step(
            method, path + query, self._accept(TABLE) | {"Content-Type": media}, dump(body), settle=settle
        )
        self._remember(whole, step)

    def _review(self, kind: Kind) -> None:
        rng = self._rng
        group, plural = "authorization.k8s.io", "selfsubjectaccessreviews"
        attributes = {
            "group": rng.choice(("", "example.com", "rbac.authorization.k8s.io", "*")),
            "resource": rng.choice(("configmaps", "widgets", "clusterroles", "*")),
            "verb": rng.choice(("get", "list", "create", "*")),
        } | rng.choice(
            ({}, {"namespace": NAMESPACES[0]}, {"name": f"{WORLD}-x"}, {"namespace": NAMESPACES[0], "name": "x"})
        )
        spec: Object = {"resourceAttributes": attributes}
        if rng.random() < 0.2:
            spec = {"nonResourceAttributes": {"path": rng.choice(("/metrics", "/x", "/version")), "verb": "get"}}
        way = rng.random()
        path = f"/apis/{group}/v1"
        if way < 0.3:
            kind_name = "SelfSubjectAccessReview"
        elif way < 0.55:
            plural, kind_name = "subjectaccessreviews", "SubjectAccessReview"
            spec["user"] = rng.choice(("alice", "bob", f"system:serviceaccount:{NAMESPACES[1]}:x", ""))
            spec["groups"] = rng.choice((["system:authenticated"], [], ["dev"]))
        elif way < 0.7:
            path = f"/apis/{group}/v1/namespaces/{NAMESPACES[0]}"
            plural, kind_name = "localsubjectaccessreviews", "LocalSubjectAccessReview"
            spec["user"] = "alice"
        elif way < 0.8:
            plural, kind_name = "selfsubjectrulesreviews", "SelfSubjectRulesReview"
            spec = {"namespace": rng.choice((*NAMESPACES, "", "none"))}
        elif way < 0.9:
            group, plural, kind_name = "authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"
            path, spec = f"/apis/{group}/v1", {}
        else:
            group, plural, kind_name = "authentication.k8s.io", "tokenreviews", "TokenReview"
            path, spec = (
                f"/apis/{group}/v1",
                {"token": rng.choice(("", "nothing", "a.b.c")), "audiences": rng.choice(([], ["a"]))},
            )
        body: Object = {"apiVersion": f"{group}/v1", "kind": kind_name, "spec": spec}
        if not spec:
            del body["spec"]
        if rng.random() < BAD * 0.6:
            body = spoil.object_(body, rng)
        raw, media, _ = self._written(body)
        query = rng.choice(("", "", "", "?dryRun=All", "?fieldValidation=Strict"))
        self._step("POST", f"{path}/{plural}{query}", self._accept(TABLE) | {"Content-Type": media}, raw)

    def _document(self, kind: Kind) -> None:
        """Discovery and OpenAPI of groups that CRDs make."""
        rng = self._rng
        group = rng.choice((OWN, "example.com"))
        version = rng.choice(("v1", "v1", "v1beta1"))
        path = rng.choice((f"/apis/{group}", f"/apis/{group}/{version}", f"/openapi/v3/apis/{group}/{version}"))
        headers = self._accept(YAML, TABLE, "*/*", "", *(spoil.ACCEPTS if path.startswith("/apis") else ()))
        pairs = tuple((name, value) for name, value in headers.items() if value)
        user = GUEST if rng.random() < 0.2 else MASTER
        self.steps.append(
            Step(self._next, rng.choice(("GET", "GET", "GET", "HEAD")), path, pairs, user=user, late=True)
        )
        self._next += 1

    def _strange(self, kind: Kind) -> None:
        """Paths and methods that are rarely used, or not there."""
        rng = self._rng
        if rng.random() < 0.6:
            path = rng.choice(spoil.PATHS).replace("@ns@", NAMESPACES[0])
            user = GUEST if rng.random() < 0.2 else MASTER
            self.steps.append(Step(self._next, "GET", path, (("Accept", "application/json"),), user=user))
            self._next += 1
            return
        path = self._place(kind)[1] + rng.choice(("", "/" + self._name(kind)))
        method = _sparing(rng.choice(spoil.METHODS), path)
        body = dump(self._body(kind, NAMESPACES[0], "x")) if method in ("POST", "PUT", "PATCH") else b""
        media = MERGE if method == "PATCH" else JSON
        settle = path if "/namespaces/" in path or CRD in path else ""
        self._step(
            method,
            path,
            self._accept("*/*", TABLE) | ({"Content-Type": media} if body else {}),
            body,
            settle=settle if method != "GET" and path.count("/") == 4 else "",
        )


def _sparing(method: str, target: str) -> str:
    """Not the deletion of a whole collection, by which a plain server would lose what it lives by."""
    collection = target.partition("?")[0].rpartition("/")[2]
    return "OPTIONS" if method == "DELETE" and collection in SPARED else method


SPARED = frozenset(
    {"namespaces", "gadgets", "clusterroles", "clusterrolebindings", "configmaps", "customresourcedefinitions",
     "serviceaccounts"}
)  # fmt: skip
