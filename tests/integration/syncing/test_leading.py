"""Two syncers for one cluster, tokens that are replaced, and what the syncer tells of itself."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import time

import aiohttp
import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.kube.leadership import LEASES
from proxy.shard.addresses import free_port
from proxy.shard.control_plane import ControlPlane
from syncer.credentials import LIFETIME, Credentials, expiry
from syncer.metrics import ready, serve
from syncer.namespaces import NAMESPACES
from syncer.runner import Settings, Syncer
from tests.faults.clock import why_not, wrong_clock
from tests.integration.eventually import eventually
from tests.integration.syncer_pair import (
    ACCOUNTS,
    CONFIGMAPS,
    DEPLOYMENTS,
    SECRETS,
    Pair,
    application,
    namespace,
    until,
)

ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles")
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings")


def leading(syncer: object) -> bool:
    return bool(syncer.metrics.registry.get_sample_value("kcp_syncer_leading"))  # type: ignore[attr-defined]


async def test_of_two_syncers_one_works(pair: Pair) -> None:
    async with pair.syncer("configmaps", lease_duration=4.0) as first:

        async def leads() -> bool:
            return leading(first)

        await eventually(leads, timeout=60)
        async with pair.syncer("configmaps", lease_duration=4.0) as second:
            await pair.make(CONFIGMAPS, "one")
            await pair.arrives(CONFIGMAPS, "one")
            await asyncio.sleep(3)
            assert (leading(first), leading(second)) == (True, False)
            assert ready(second.metrics) == {"standing-by": True}
            # Whoever takes the Lease leads, and the other one learns of it.
            lease = await pair.above.get(LEASES, f"syncer-{pair.cluster}", "default")
            # For long enough that both are seen not to lead, on a busy machine too.
            taken = {"spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 12}}
            await pair.above.patch(LEASES, lease["metadata"]["name"], taken, "default")

            async def nobody() -> bool:
                return not leading(first) and not leading(second)

            await eventually(nobody, timeout=60)

            async def somebody() -> bool:
                return leading(first) != leading(second)

            await eventually(somebody, timeout=60)
            await pair.make(CONFIGMAPS, "two")
            await pair.arrives(CONFIGMAPS, "two")
    # Who ends in good order leaves the Lease to the next one at once.
    lease = await pair.above.get(LEASES, f"syncer-{pair.cluster}", "default")
    assert not lease["spec"].get("holderIdentity")
    async with pair.syncer("configmaps", lease_duration=60.0):
        await pair.make(CONFIGMAPS, "three")
        await pair.arrives(CONFIGMAPS, "three")


async def test_who_does_not_reach_the_workspace_does_not_stand_by(pair: Pair) -> None:
    nowhere = dataclasses.replace(pair.above.connection, server=f"https://127.0.0.1:{free_port()}/clusters/root")
    settings = Settings(
        workspace=pair.workspace,
        cluster=pair.cluster,
        above=nowhere,
        below=pair.below.connection,
        resources=("configmaps",),
    )
    syncer = Syncer(settings)
    task = asyncio.create_task(syncer.run())
    try:
        await asyncio.sleep(2)
        assert not task.done(), "it waits for the workspace"
        assert ready(syncer.metrics) == {"standing-by": False}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_syncer_that_is_gone_is_followed_by_another(pair: Pair) -> None:
    lease: Object = {
        "apiVersion": LEASES.api_version,
        "kind": "Lease",
        "metadata": {"name": f"syncer-{pair.cluster}"},
        "spec": {"holderIdentity": "gone", "leaseDurationSeconds": 2, "renewTime": "2099-01-01T00:00:00.000000Z"},
    }
    await pair.above.create(LEASES, lease, "default")
    began = time.monotonic()
    async with pair.syncer("configmaps", lease_duration=2.0):
        await pair.make(CONFIGMAPS, "one")
        await pair.arrives(CONFIGMAPS, "one")
    assert time.monotonic() - began > 2, "it was given its time, whatever its clock says"


async def test_the_token_is_replaced_and_kept(pair: Pair) -> None:
    """By the service account itself, with no right but that of asking for its own token."""
    account = await _account(pair)
    given = await _token(pair, account, 600)
    start = _anonymous(pair.above.connection, given)

    def credentials(client: Client, reload: str = given) -> Credentials:
        return Credentials(
            client,
            pair.below,
            namespace=pair.namespace,
            account=account,
            secret=(f"syncer-{pair.namespace}", "kcp-syncer-token"),
            lifetime=3600,
            reload=lambda: _anonymous(pair.above.connection, reload),
        )

    async with Client(start) as client:
        made = credentials(client)
        await made.choose()
        assert client.connection.token == given
        running = asyncio.create_task(made.run())

        async def kept() -> str:
            secret = await pair.below.get(SECRETS, "kcp-syncer-token", f"syncer-{pair.namespace}")
            return base64.b64decode(secret["data"]["token"]).decode()

        token = await eventually(kept, Exception, timeout=60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert client.connection.token == token != given
        assert expiry(token) > expiry(given) + 2000
    # The next start finds it, and leaves it as it is while it is good for long.
    async with Client(start) as client:
        made = credentials(client)
        await made.choose()
        assert client.connection.token == token
        running = asyncio.create_task(made.run())
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert await kept() == token
    # A manifest that is applied again has a later token, and that one is used.
    later = await _token(pair, account, 7200)
    async with Client(start) as client:
        await credentials(client, later).choose()
        assert client.connection.token == later


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
async def test_a_token_that_was_made_by_a_wrong_clock_is_not_the_last_word(pair: Pair, shard: ControlPlane) -> None:
    """It begins in an hour: until then the one before it is used, and makes another."""
    account = await _account(pair)
    given = await _token(pair, account, 7200)

    def credentials(client: Client) -> Credentials:
        where = (f"syncer-{pair.namespace}", "kcp-syncer-token")
        return Credentials(
            client, pair.below, namespace=pair.namespace, account=account, secret=where, lifetime=LIFETIME
        )

    async with Client(_anonymous(pair.above.connection, given)) as client:
        with wrong_clock(shard.processes["kube-apiserver"].pid, 3600):
            running = asyncio.create_task(credentials(client).run())

            async def replaced() -> bool:
                return client.connection.token != given

            await eventually(replaced)
            await eventually(lambda: pair.below.get(SECRETS, "kcp-syncer-token", f"syncer-{pair.namespace}"), Exception)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        future = client.connection.token

    # A syncer that is started then finds it, and nothing else but what was kept with it.
    def answered(method: str, code: int, seconds: float) -> None:
        made.answered(code)

    async with Client(_anonymous(pair.above.connection, ""), observe=answered) as client:
        made = credentials(client)
        await made.choose()
        assert client.connection.token == future
        running = asyncio.create_task(made.run())

        async def accepted() -> bool:
            await client.request("GET", "/api")
            return client.connection.token not in (future, given)

        await eventually(accepted, StatusError, timeout=40)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _account(pair: Pair) -> str:
    """One that may ask for its own token, and a namespace below to keep it in."""
    account = f"syncer-{pair.cluster}"
    rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [account], "verbs": ["create"]}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": pair.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
    meta = {"name": account}
    for resource, kind, fields in (
        (ACCOUNTS, "ServiceAccount", {}),
        (ROLES, "Role", {"rules": [rule]}),
        (BINDINGS, "RoleBinding", {"roleRef": reference, "subjects": [subject]}),
    ):
        obj = {"apiVersion": resource.api_version, "kind": kind, "metadata": meta, **fields}
        await pair.above.create(resource, obj, pair.namespace)
    await pair.below.create(NAMESPACES, namespace(f"syncer-{pair.namespace}"))
    return account


async def _token(pair: Pair, account: str, seconds: int) -> str:
    request: Object = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }
    path = ACCOUNTS.path(pair.namespace, account, "token")
    return str((await pair.above.request("POST", path, body=request))["status"]["token"])


def _anonymous(connection: Connection, token: str) -> Connection:
    return dataclasses.replace(connection, client_cert_data=None, client_key_data=None, token=token)


async def test_what_it_tells_of_itself(pair: Pair, unused_tcp_port: int) -> None:
    address = f"http://127.0.0.1:{unused_tcp_port}"
    async with (
        pair.syncer("configmaps", "deployments.apps") as syncer,
        serve(syncer.metrics.registry, lambda: ready(syncer.metrics), "127.0.0.1", unused_tcp_port),
        aiohttp.ClientSession() as session,
    ):

        async def get(path: str) -> tuple[int, str]:
            async with session.get(address + path) as answer:
                return answer.status, await answer.text()

        async def is_ready() -> bool:
            return (await get("/readyz"))[0] == 200

        assert (await eventually(lambda: get("/livez"), aiohttp.ClientError))[0] == 200
        await eventually(is_ready, timeout=60)
        await pair.make(DEPLOYMENTS, "words", **application())
        await pair.arrives(DEPLOYMENTS, "words")
        status = {"observedGeneration": 1, "replicas": 1}
        await pair.below.patch(DEPLOYMENTS, "words", {"status": status}, pair.physical, subresource="status")
        await until(
            lambda: pair.above.get(DEPLOYMENTS, "words", pair.namespace), lambda obj: obj["status"].get("replicas") == 1
        )
        await asyncio.sleep(0.2)
        text = (await get("/metrics"))[1]
        for line in (
            'kcp_syncer_objects{resource="deployments.apps"} 1.0',
            'kcp_syncer_lag_seconds_count{direction="down",resource="deployments.apps"} 1.0',
            'kcp_syncer_lag_seconds_count{direction="up",resource="deployments.apps"} 1.0',
            'kcp_syncer_queue_depth{resource="deployments.apps"} 0.0',
            'kcp_syncer_oldest_pending_seconds{resource="deployments.apps"} 0.0',
            'kcp_syncer_connected{side="above"} 1.0',
            'kcp_syncer_connected{side="below"} 1.0',
            "kcp_syncer_leading 1.0",
        ):
            assert line in text, text
        assert 'kcp_syncer_requests_total{code="200",method="WATCH",side="below"}' in text
        assert "[+]above-connected ok" in (await get("/readyz?verbose"))[1]
