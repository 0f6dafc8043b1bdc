"""``kubectl ws``: what it prints, where it goes, what it says of mistakes."""

from __future__ import annotations

import itertools
import resource
import shlex
import stat
from pathlib import Path

import pytest
import yaml

from tests.e2e.workspaces.installation import Installation, Outcome

_numbers = itertools.count(1)


class Terminal:
    """One user's kubeconfig, kept from command to command."""

    def __init__(self, kcp: Installation, path: str) -> None:
        self._kcp = kcp
        self.kubeconfig: Path = kcp.kubeconfig(path)

    async def __call__(self, command: str) -> Outcome:
        return await self._kcp.run(*shlex.split(command), kubeconfig=self.kubeconfig)

    @property
    def server(self) -> str:
        config = yaml.safe_load(self.kubeconfig.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        server: str = next(c["cluster"]["server"] for c in config["clusters"] if c["name"] == context["cluster"])
        return server


async def test_every_line_of_a_walk_through_the_tree(kcp: Installation) -> None:
    org = f"walk-{next(_numbers)}"
    ws = Terminal(kcp, "root:default")
    for command, printed in (
        ("kubectl-ws", 'Current workspace is "root:default".'),
        ("kubectl-ws current", 'Current workspace is "root:default".'),
        ("kubectl-ws current --short", "root:default"),
        ("kubectl-ws use root", 'Current workspace is "root".'),
        (
            f"kubectl-ws create {org} --type Organization",
            f'Workspace "{org}" (type "Organization") created. Waiting for being ready.',
        ),
        (f"kubectl-ws {org}", f'Current workspace is "root:{org}" (type "Organization").'),
        (
            "kubectl-workspace create team-b --enter",
            'Workspace "team-b" (type "Universal") created. Waiting for being ready.\n'
            f'Current workspace is "root:{org}:team-b" (type "Universal").',
        ),
        ("kubectl-kcp workspace ..", f'Current workspace is "root:{org}".'),
        ("kubectl-ws create team-b --ignore-existing", 'Workspace "team-b" (type "Universal") already exists.'),
        ("kubectl-ws use team-b", f'Current workspace is "root:{org}:team-b" (type "Universal").'),
        ("kubectl-ws -", f'Current workspace is "root:{org}".'),
        ("kubectl-ws -", f'Current workspace is "root:{org}:team-b".'),
        (f"kubectl-kcp ws root:{org}", f'Current workspace is "root:{org}".'),
        (
            "kubectl-ws list",
            f"NAME     TYPE        PHASE   URL\nteam-b   Universal   Ready   {kcp.url}/clusters/root:{org}:team-b",
        ),
        ("kubectl-ws list -o name", "workspace.tenancy.kcp.dev/team-b"),
        ("kubectl-ws create-context", f'Created context "root:{org}" and switched to it.'),
        ("kubectl-ws create-context --overwrite", f'Updated context "root:{org}" and switched to it.'),
        ("kubectl-ws delete team-b", 'workspace.tenancy.kcp.dev "team-b" deleted'),
    ):
        outcome = await ws(command)
        assert (outcome.code, outcome.out.rstrip("\n"), outcome.err) == (0, printed, ""), command
    assert ws.server == f"{kcp.url}/clusters/root:{org}"
    assert stat.S_IMODE(ws.kubeconfig.stat().st_mode) == 0o600


async def test_a_list_reads_as_kubectls(kcp: Installation) -> None:
    ws = Terminal(kcp, "root")
    ours = await ws("kubectl-ws list")
    theirs = await kcp.kubectl("root", "get", "workspaces")
    assert ours.out == theirs.out
    assert ours.out.split()[:4] == ["NAME", "TYPE", "PHASE", "URL"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("use nope", 'Error: workspaces.tenancy.kcp.dev "nope" not found'),
        ("root:nope", 'Error: workspace "root:nope" not found'),
        ("..", 'Error: current workspace is "root"'),
        ("-", "Error: no previous workspace found in kubeconfig"),
        ("create default --type Organization", 'Error: workspaces.tenancy.kcp.dev "default" already exists'),
        (
            "create default --ignore-existing",
            'Error: workspace "default" already exists with different type "Organization"',
        ),
        ("create system", "root, org and system are reserved names"),
        ("create Not_A_Name", "a-z, 0-9"),
        (f"create {'x' * 32}", "at most 31 characters"),
        ("delete nope", 'Error: workspaces.tenancy.kcp.dev "nope" not found'),
        # Without its name a request for one workspace would be one for all of them.
        ("delete .", """Error: invalid name ".": may not be '.'"""),
        ('delete ""', "Error: a name may not be empty"),
        ('use ""', "Error: a name may not be empty"),
        ("delete default/", """Error: invalid name "default/": may not contain '/'"""),
        ("--context nope", "Error: context 'nope' does not exist"),
        ("--kubeconfig /nowhere", "Error: /nowhere: no such file"),
        ("list --server https://127.0.0.1:1", "Error: the server 127.0.0.1:1 cannot be reached"),
        ("list --token worn-out", "does not accept these credentials: wrong, or expired"),
        ("create", "Missing argument"),
    ],
)
async def test_a_mistake_is_one_line_and_exit_code_1(kcp: Installation, command: str, says: str) -> None:
    ws = Terminal(kcp, "root")
    outcome = await ws(f"kubectl-ws {command}")
    assert (outcome.code, outcome.out) == (1, ""), outcome
    assert says in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1, outcome.err
    assert ws.server == f"{kcp.url}/clusters/root"
    assert (await ws("kubectl-ws .")).out == 'Current workspace is "root".\n'
    assert "default" in (await ws("kubectl-ws list")).out


async def test_where_no_workspaces_can_be(kcp: Installation) -> None:
    path = await kcp.fresh()
    for command in ("use x", "create x", "list", "delete x"):
        outcome = await Terminal(kcp, path)(f"kubectl-ws {command}")
        says = f'Error: workspace "{path}" is of a type that holds no workspaces: go up with "kubectl ws .."\n'
        assert (outcome.code, outcome.out, outcome.err) == (1, "", says), command


async def test_a_type_that_does_not_exist_is_named(kcp: Installation) -> None:
    name = f"odd-{next(_numbers)}"
    outcome = await Terminal(kcp, "root")(f"kubectl-ws create {name} --type Odd")
    assert outcome.code == 1
    assert f'Error: workspace "{name}" is not ready: ClusterWorkspaceType "odd" not found in root' in outcome.err
    assert (await kcp.kubectl("root", "delete", "workspace", name)).code == 0


async def test_users_and_other_contexts_are_kept(kcp: Installation) -> None:
    ws = Terminal(kcp, "root")
    before = yaml.safe_load(ws.kubeconfig.read_text())
    await ws("kubectl-ws default")
    after = yaml.safe_load(ws.kubeconfig.read_text())
    assert after["users"] == before["users"]
    assert [c for c in after["contexts"] if c["name"] == "here"] == before["contexts"]
    assert after["current-context"] == "workspace.kcp.dev/current"


async def test_plain_kubectl_makes_and_deletes_workspaces(kcp: Installation) -> None:
    name = f"plain-{next(_numbers)}"
    body = "apiVersion: tenancy.kcp.dev/v1beta1\nkind: Workspace\nspec: {type: Organization}\n"
    body += f"metadata: {{name: {name}}}\n"
    assert (
        await kcp.kubectl("root", "create", "-f", "-", stdin=body)
    ).out == f"workspace.tenancy.kcp.dev/{name} created\n"
    waited = await kcp.kubectl(
        "root", "wait", f"workspace/{name}", "--for=jsonpath={.status.phase}=Ready", "--timeout=20s"
    )
    assert waited.code == 0, waited.err
    details = await kcp.kubectl(
        "root", "get", "clusterworkspace", name, "-o", "jsonpath={.status.phase} {.status.baseURL}"
    )
    assert details.out == f"Ready {kcp.url}/clusters/root:{name}"
    assert (await kcp.kubectl("root", "delete", "workspace", name, "--timeout=40s")).code == 0
    assert (await kcp.kubectl("root", "get", "clusterworkspace", name)).code == 1


async def test_the_plugin_starts_quickly(kcp: Installation) -> None:
    """In CPU seconds, which other programs on the machine do not change much."""
    ws = Terminal(kcp, "root")
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        await ws("kubectl-ws current")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert 0 < min(times) < 0.5, times
