"""What happens in a workspace happens on its physical cluster, and its state is seen in the workspace."""

from __future__ import annotations

import base64

import pytest

from proxy.kube.errors import StatusError
from tests.e2e.workloads.team import CONFIGMAPS, DEPLOYMENTS, LABEL, NAMESPACES, PATIENCE, PODS, SECRETS, Team
from tests.images import REVERSEWORDS_2
from tests.integration.eventually import eventually


async def test_scale_and_image_go_down_and_the_status_comes_up(team_a: Team) -> None:
    namespace = await team_a.namespace("scaling")
    await team_a.deploy(namespace, replicas=1)
    await team_a.up.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 3}}, namespace)
    await team_a.available(namespace, "words", 3)
    assert len(await team_a.pods(namespace)) == 3
    change = {"spec": {"template": {"spec": {"containers": [{"name": "words", "image": REVERSEWORDS_2}]}}}}
    await team_a.up.patch(DEPLOYMENTS, "words", change, namespace, kind="strategic")
    await team_a.available(namespace, "words", 3, image=REVERSEWORDS_2)
    await team_a.up.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 0}}, namespace)
    await team_a.available(namespace, "words", 0)


async def test_kubectl_waits_for_a_rollout_in_the_workspace(team_a: Team) -> None:
    namespace = await team_a.namespace("rollout")
    await team_a.deploy(namespace)
    for arguments in (
        ("scale", "deployment/words", "--replicas=2"),
        ("rollout", "status", "deployment/words", "--timeout=60s"),
    ):
        outcome = await team_a.kcp.kubectl(team_a.path, "-n", namespace, *arguments)
        assert outcome.code == 0, outcome.text
    assert outcome.out.splitlines()[-1] == 'deployment "words" successfully rolled out'
    assert (await team_a.up.get(DEPLOYMENTS, "words", namespace))["status"]["availableReplicas"] == 2


async def test_deletion_goes_down(team_a: Team) -> None:
    namespace = await team_a.namespace("deleting")
    await team_a.deploy(namespace)
    await team_a.up.delete(DEPLOYMENTS, "words", namespace)
    await team_a.gone_below(DEPLOYMENTS, "words", team_a.below(namespace))

    async def no_pods() -> bool:
        return not (await team_a.down.list(PODS, team_a.below(namespace)))["items"]

    await eventually(no_pods, timeout=PATIENCE)


async def test_a_deleted_namespace_takes_its_workload_with_it(team_a: Team) -> None:
    namespace = await team_a.namespace("ending")
    await team_a.deploy(namespace)
    await team_a.up.delete(NAMESPACES, namespace)
    await team_a.gone_below(NAMESPACES, team_a.below(namespace), None)

    async def gone_above() -> bool:
        try:
            await team_a.up.get(NAMESPACES, namespace)
        except StatusError as error:
            return error.code == 404
        return False

    await eventually(gone_above, timeout=PATIENCE)


async def test_configuration_and_secrets_go_down_and_follow_changes(team_a: Team) -> None:
    namespace = await team_a.namespace("configuration")
    await team_a.up.create(CONFIGMAPS, {"metadata": {"name": "settings"}, "data": {"color": "red"}}, namespace)
    secret = {"metadata": {"name": "key"}, "stringData": {"password": "s3cret"}}
    await team_a.up.create(SECRETS, secret, namespace)
    assert (await team_a.on_below(CONFIGMAPS, "settings", namespace))["data"] == {"color": "red"}
    below = await team_a.on_below(SECRETS, "key", namespace)
    assert base64.b64decode(below["data"]["password"]) == b"s3cret"
    await team_a.up.patch(CONFIGMAPS, "settings", {"data": {"color": None, "size": "xl"}}, namespace)

    async def changed() -> bool:
        return bool((await team_a.on_below(CONFIGMAPS, "settings", namespace))["data"] == {"size": "xl"})

    await eventually(changed, timeout=PATIENCE)
    await team_a.up.delete(SECRETS, "key", namespace)
    await team_a.gone_below(SECRETS, "key", team_a.below(namespace))


async def test_what_is_changed_below_is_put_right(team_a: Team) -> None:
    namespace = await team_a.namespace("drift")
    await team_a.deploy(namespace)
    below = team_a.below(namespace)
    await team_a.down.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 4}}, below)

    async def one_again() -> bool:
        return bool((await team_a.down.get(DEPLOYMENTS, "words", below))["spec"]["replicas"] == 1)

    await eventually(one_again, timeout=PATIENCE)
    await team_a.down.delete(DEPLOYMENTS, "words", below)
    await team_a.on_below(DEPLOYMENTS, "words", namespace)
    await team_a.available(namespace, "words", 1)


async def test_objects_of_others_below_are_left_alone(team_a: Team) -> None:
    namespace = await team_a.namespace("others")
    await team_a.up.create(CONFIGMAPS, {"metadata": {"name": "first"}, "data": {"k": "v"}}, namespace)
    await team_a.on_below(CONFIGMAPS, "first", namespace)
    below = team_a.below(namespace)
    await team_a.down.create(CONFIGMAPS, {"metadata": {"name": "theirs"}, "data": {"of": "others"}}, below)
    await team_a.up.create(CONFIGMAPS, {"metadata": {"name": "theirs"}, "data": {"of": "team-a"}}, namespace)
    await team_a.up.create(CONFIGMAPS, {"metadata": {"name": "last"}, "data": {"k": "v"}}, namespace)
    await team_a.on_below(CONFIGMAPS, "last", namespace)
    theirs = await team_a.down.get(CONFIGMAPS, "theirs", below)
    assert theirs["data"] == {"of": "others"}
    assert LABEL not in (theirs["metadata"].get("labels") or {})


@pytest.mark.usefixtures("real_nodes")
async def test_a_pod_talks_to_its_workspace(team_a: Team) -> None:
    """With the address in its environment and the token that is mounted, as any in-cluster client does."""
    namespace = await team_a.namespace("talking")
    await team_a.deploy(namespace)
    code = (
        "import os, ssl, urllib.request as u, urllib.error as e\n"
        "here = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "context = ssl.create_default_context(cafile=here + 'ca.crt')\n"
        "server = 'https://{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}'.format(**os.environ)\n"
        "path = '/api/v1/namespaces/' + open(here + 'namespace').read() + '/configmaps/kube-root-ca.crt'\n"
        "request = u.Request(server + path, headers={'Authorization': 'Bearer ' + open(here + 'token').read()})\n"
        "try: print(u.urlopen(request, context=context, timeout=10).read().decode())\n"
        "except e.HTTPError as error: print(error.read().decode())"
    )
    refused = await team_a.inside(namespace, code)
    assert f'User \\"system:serviceaccount:{namespace}:default\\" cannot get resource' in refused
    granted = await team_a.kcp.kubectl(
        team_a.path,
        *("create", "rolebinding", "reader", "-n", namespace),
        *("--clusterrole=view", f"--serviceaccount={namespace}:default"),
    )
    assert granted.code == 0, granted.text

    async def allowed() -> bool:
        return '"kind":"ConfigMap"' in (await team_a.inside(namespace, code)).replace(": ", ":")

    await eventually(allowed, timeout=60)


async def test_a_namespace_may_stay_out(team_a: Team) -> None:
    out = {"name": "staying-out", "labels": {"experimental.workloads.kcp.dev/scheduling-disabled": "true"}}
    await team_a.up.create(NAMESPACES, {"metadata": out})
    await team_a.up.create(CONFIGMAPS, {"metadata": {"name": "settings"}, "data": {}}, "staying-out")
    await team_a.namespace("going-along")  # whoever decides has seen the first one by now
    assert LABEL not in (await team_a.up.get(NAMESPACES, "staying-out"))["metadata"]["labels"]
    with pytest.raises(StatusError, match="not found"):
        await team_a.down.get(NAMESPACES, team_a.below("staying-out"))
