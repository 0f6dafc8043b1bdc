"""The official Python client: files of objects, accounts and their rights, leader election."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import yaml
from kubernetes import client, utils
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from tests.clients import same, tools
from tests.clients.official import Calls, error, until
from tests.clients.side import Side, Sides

FILE = """
apiVersion: v1
kind: Namespace
metadata: {name: py-files}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: one, namespace: py-files}, data: {a: "1"}}
- {apiVersion: v1, kind: Secret, metadata: {name: two, namespace: py-files}, stringData: {a: "1"}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: py-files}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: py-files}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: robot, namespace: py-files}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: py-files}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: few, namespace: py-files}
spec: {hard: {count/configmaps: "5"}}
"""


def _files(side: Side) -> list[Any]:
    calls = Calls(side)
    folder = side.folder / "yaml"
    folder.mkdir()
    (folder / "all.yaml").write_text(FILE)
    results: list[Any] = [_made(calls, lambda: utils.create_from_yaml(calls.api, str(folder / "all.yaml")))]
    results.append(_made(calls, lambda: utils.create_from_directory(calls.api, str(folder))))
    again = [document for document in yaml.safe_load_all(FILE) if document["kind"] != "List"]
    results.append(_made(calls, lambda: utils.create_from_yaml(calls.api, yaml_objects=again, apply=True)))
    definition = tools.definition("files.example.com")
    results.append(_made(calls, lambda: utils.create_from_dict(calls.api, definition)))
    return [*results, *_account(calls, "py-files")]


def _made(calls: Calls, create: Any) -> Any:
    try:
        made = create()
    except utils.FailToCreateError as raised:
        return [error(failure) for failure in raised.api_exceptions]
    found = same.obj(calls.api.sanitize_for_serialization(made))
    return [_without_status(item) for item in _flat(found)]


def _flat(found: Any) -> Iterator[Any]:
    for item in found:
        if isinstance(item, list):
            yield from _flat(item)
        else:
            yield item


def _without_status(item: Any) -> Any:
    return {key: value for key, value in item.items() if key != "status"}


def _account(calls: Calls, ns: str) -> list[Any]:
    """What a service account's token is good for, and what reviews say of it."""
    core = calls.core
    asked = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("robot", ns, asked).status.token
    robot = Calls.with_token(calls.api.configuration, token)
    authentication, authorization = client.AuthenticationV1Api(calls.api), client.AuthorizationV1Api(calls.api)
    review = calls(authentication.create_token_review, {"spec": {"token": token}})
    wrong = calls(authentication.create_token_review, {"spec": {"token": "nonsense"}})
    for answered in (review, wrong):
        answered.pop("spec")  # a workspace names the audience that was asked for by naming none
    review["status"]["user"]["extra"] = sorted(review["status"]["user"].pop("extra", {}))
    user = f"system:serviceaccount:{ns}:robot"
    rules = client.AuthorizationV1Api(robot.api).create_self_subject_rules_review({"spec": {"namespace": ns}})
    return [
        review,
        wrong,
        calls(core.create_namespaced_service_account_token, "robot", ns, {"spec": {"expirationSeconds": 5}}),
        calls(core.create_namespaced_service_account_token, "nobody", ns, asked),
        [item["metadata"]["name"] for item in robot(robot.core.list_namespaced_config_map, ns)["items"]],
        robot(robot.core.list_namespaced_secret, ns),
        robot(robot.core.list_config_map_for_all_namespaces),
        robot(robot.core.create_namespaced_config_map, ns, {"metadata": {"name": "x"}}),
        robot(robot.core.list_namespace),
        robot(client.AuthenticationV1Api(robot.api).create_self_subject_review, {})["status"]["userInfo"]["groups"],
        [
            calls(
                authorization.create_subject_access_review,
                {"spec": {"user": user, "resourceAttributes": {"namespace": ns, "verb": verb, "resource": what}}},
            )["status"]
            for verb, what in (("get", "configmaps"), ("get", "secrets"), ("delete", "configmaps"))
        ],
        sorted(str(rule) for rule in calls.plain(rules.status.resource_rules) if "configmaps" in rule["resources"]),
    ]


async def test_files_and_accounts(sides: Sides) -> None:
    await sides.same(lambda side: asyncio.to_thread(_files, side))


def _candidate(side: Side, name: str, told: list[str], stop: threading.Event) -> threading.Thread:
    lock = LeaseLock("election", "default", name)
    lock.api_instance = client.CoordinationV1Api(Calls(side).api)
    renewed = lock.update

    def update(*arguments: Any) -> bool:
        return not stop.is_set() and renewed(*arguments)  # how a process that hangs looks to the others

    lock.update = update
    config = electionconfig.Config(
        lock, 4, 3, 1, lambda: told.append(f"{name} leads"), lambda: told.append(f"{name} stopped")
    )
    thread = threading.Thread(target=leaderelection.LeaderElection(config).run, daemon=True)
    thread.start()
    return thread


def _election(side: Side) -> list[Any]:
    calls, told = Calls(side), list[str]()
    stops = [threading.Event(), threading.Event()]
    first = _candidate(side, "first", told, stops[0])
    until(lambda: told == ["first leads"])
    second = _candidate(side, "second", told, stops[1])
    lease = until(lambda: client.CoordinationV1Api(calls.api).read_namespaced_lease("election", "default"))
    holders = [lease.spec.holder_identity]
    stops[0].set()
    first.join(20)
    until(lambda: "second leads" in told)
    lease = client.CoordinationV1Api(calls.api).read_namespaced_lease("election", "default")
    stops[1].set()
    second.join(20)
    return [*holders, lease.spec.holder_identity, lease.spec.lease_duration_seconds, sorted(told)]


async def test_leader_election(sides: Sides) -> None:
    await sides.same(lambda side: asyncio.to_thread(_election, side))
