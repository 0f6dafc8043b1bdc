"""Forms of answers: JSON for programs and for people, YAML, gzip; and the refusal of all others."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest
import yaml

from tests.clients import same
from tests.e2e.workspaces.twins import CRDS, DEFAULT, RBAC, Answer, Api, Twins

CM = f"{DEFAULT}/configmaps/forms"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
MAP = {"metadata": {"name": "forms"}, "data": {"a": '<b> & "c"', "b": "", "c": "two\nlines", "d": "yes"}}


def shown(answer: Answer) -> Any:
    """Body and head as far as they must be the same; what is indented for people is compared line by line."""
    text = answer.body.decode()
    if answer.headers.get("content-type") == "application/yaml":
        return answer.seen, same.obj(yaml.safe_load(text))
    return answer.seen, re.sub(r'"resourceVersion":( ?)"\d+"', r'"resourceVersion":\1"N"', same.text(text)).splitlines()


GETS: list[tuple[str, dict[str, str]]] = [
    ("", {}),
    ("?pretty=true", {}),
    ("?pretty=1", {}),
    ("?pretty", {}),
    ("?pretty=false", {"User_Agent": "curl/8"}),
    ("?pretty=nonsense", {"User_Agent": "curl/8"}),
    ("", {"User_Agent": "curl/8"}),
    ("", {"User_Agent": "Mozilla/5.0 (X11)", "Accept": "text/html,application/xml;q=0.9,*/*;q=0.8"}),
    ("", {"Accept": "application/json;pretty=1"}),
    ("", {"Accept": "application/yaml"}),
    ("", {"Accept": "application/yaml;q=0.5, application/json"}),
    ("", {"Accept": "application/cbor"}),
    ("", {"Accept": "application/cbor, application/json"}),
    ("", {"Accept": "text/html"}),
    ("", {"Accept": TABLE}),
    ("", {"Accept": METADATA}),
    ("", {"Accept": TABLE, "User_Agent": "curl/8"}),
    ("", {"Accept": TABLE.replace("Table", "Foo")}),
]


@pytest.mark.parametrize("name", ["forms", "missing"])
async def test_one_object(twins: Twins, name: str) -> None:
    async def scenario(api: Api) -> Any:
        await api.ask("DELETE", CM)
        await api.must("POST", f"{DEFAULT}/configmaps?fieldManager=twins", MAP)
        return [
            shown(await api.ask("GET", f"{DEFAULT}/configmaps/{name}{query}", **headers)) for query, headers in GETS
        ]

    await twins.same(scenario)


async def test_a_table_as_yaml(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        await api.ask("POST", f"{DEFAULT}/configmaps", MAP)
        answer = await api.ask("GET", CM, Accept=TABLE.replace("json", "yaml"))
        table = yaml.safe_load(answer.body)
        return answer.seen, table["columnDefinitions"], table["rows"][0]["cells"][:2]

    await twins.same(scenario)


async def test_lists(twins: Twins) -> None:
    """In one namespace, and over all: the latter are put together by the proxy."""

    async def scenario(api: Api) -> Any:
        for n in range(3):
            await api.ask("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": f"forms-{n}"}})
        seen = []
        for path in (f"{DEFAULT}/serviceaccounts", "/api/v1/serviceaccounts", CRDS):
            for headers in (
                {},
                {"User_Agent": "curl/8"},
                {"Accept": "application/yaml"},
                {"Accept": "application/cbor"},
            ):
                answer = await api.ask("GET", f"{path}?limit=500", **headers)
                head, body = answer.seen, answer.body.decode()
                value = yaml.safe_load(body)
                seen.append((path, headers, head, value["kind"], body.startswith("{\n"), body.endswith("\n")))
                if "items" in value:
                    names = {item["metadata"]["name"] for item in value["items"]}
                    assert path == CRDS or {"default", "forms-0", "forms-1", "forms-2"} <= names
                    again = (await api.ask("GET", f"{path}?limit=500")).json
                    assert value["items"] == again["items"]
        return seen

    await twins.same(scenario)


async def test_writes_and_refusals(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        answers = [
            await api.ask("POST", f"{DEFAULT}/configmaps?dryRun=All", body, Accept=accept, User_Agent=agent)
            for body in ({"metadata": {"name": "w"}, "data": {"a": "b"}}, {"metadata": {"name": "Not A Name"}})
            for accept in ("application/yaml", "application/json")
            for agent in ("curl/8", "program")
        ]
        answers += [
            await api.ask("GET", path, Accept="application/yaml") for path in ("/api/v1/nope", f"{DEFAULT}/nope")
        ]
        answers.append(
            await api.ask("GET", f"{DEFAULT}/configmaps?watch=1&timeoutSeconds=1", Accept="application/yaml")
        )
        answers.append(
            await api.ask("GET", f"{DEFAULT}/configmaps?watch=1&timeoutSeconds=1", Accept="application/cbor")
        )
        return [shown(answer) for answer in answers]

    await twins.same(scenario)


async def test_methods_that_are_not_allowed(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        asked = [("HEAD", CM), ("OPTIONS", CM), ("TRACE", CM), ("POST", CM), ("PUT", f"{DEFAULT}/configmaps"),
                 ("PATCH", f"{DEFAULT}/configmaps"), ("HEAD", f"{DEFAULT}/configmaps"), ("DELETE", "/api/v1"),
                 ("PUT", f"{RBAC}/clusterroles"), ("OPTIONS", "/api"), ("POST", "/api/v1")]  # fmt: skip
        return [(method, path, shown(await api.ask(method, path))) for method, path in asked]

    await twins.same(scenario)


async def test_bodies_in_encodings_that_are_not_taken(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        await api.ask("POST", f"{DEFAULT}/configmaps", MAP)
        return [
            (method, media, shown(await api.ask(method, path, b"{}", content_type=media)))
            for method, path in (
                ("POST", f"{DEFAULT}/configmaps"),
                ("PUT", CM),
                ("PATCH", CM),
                ("DELETE", f"{CM}-none"),
            )
            for media in ("application/cbor", "text/plain", "application/x-www-form-urlencoded")
        ]

    await twins.same(scenario)


async def test_gzip(twins: Twins) -> None:
    """For answers of more than 128 KiB, as a kube-apiserver."""

    async def scenario(api: Api) -> Any:
        path = f"{DEFAULT}/configmaps"
        for n in range(3):
            body = {"metadata": {"name": f"gzip-{n}"}, "data": {"a": "x" * 60_000}}
            await api.ask("POST", path, body)
        seen = []
        for where in (path, "/api/v1/configmaps", f"{path}/gzip-0"):
            for encoding in ("gzip", "gzip, deflate", "identity", "deflate"):
                answer = await api.ask("GET", where, Accept_Encoding=encoding)
                zipped = answer.headers.get("content-encoding") == "gzip"
                text = gzip.decompress(answer.body) if zipped else answer.body
                seen.append((where, encoding, answer.seen, text.count(b"x" * 60_000)))
        for n in range(3):
            await api.ask("DELETE", f"{path}/gzip-{n}")
        return seen

    await twins.same(scenario)
