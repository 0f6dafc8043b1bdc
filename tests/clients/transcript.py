"""Shell lines of a file, played on a side: what each printed, without what varies."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tests.clients import same
from tests.clients.side import Side

FOLDER = Path(__file__).parent / "kubectl"
_VARYING = (
    (re.compile(r"""(resource[_ ]?version\\*"?): *\\*"?\d+\\*"?""", re.IGNORECASE), r"\1: VERSION"),
    (re.compile(r"^[IWE]\d{4} .*\n", re.MULTILINE), ""),  # of client-go's log: what came in which moment
    (re.compile(r'(\\*"managedFields\\*":)\[[^\]]*\]'), r"\1[MANAGED]"),  # in an annotation, in the order of time
    (re.compile(r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"), "TIME"),
    (re.compile(r'"continue":"[^"]+"'), "CONTINUE"),
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "TOKEN"),
    (re.compile(r"\b(LIVE|MERGED|kubectl-edit)-\d+|\b(kube-api-access)-[a-z0-9]{5}\b"), r"\1\2"),
    (re.compile(r"(?<=\S) {2,}"), "  "),  # columns are as wide as what was taken out
)


PATHLESS = frozenset({"132"})
"""Releases whose ``--raw`` takes no notice of the path in the server's URL: they ask the root workspace instead."""


@dataclass(frozen=True, slots=True)
class Printed:
    line: str
    code: int
    out: str
    err: str


async def play(side: Side, name: str, kubectl: Path, number: str) -> list[Printed]:
    """Steps ``kubectl/steps/<name>.txt`` in a namespace of their own, with this ``kubectl``. Names of cluster-scoped
    objects hold ``number``, the shell's ``$V``."""
    namespace = f"{name}-{number}"
    own = await _furnish(side, namespace, number)
    environment = {
        "GOGC": "off",
        "GOMAXPROCS": "1",
        "PATH": f"{kubectl.parent}:{own.environment['PATH']}",
        "NS": namespace,
        "V": number,
        "PYTHON": sys.executable,
    }
    printed = []
    steps = (FOLDER / "steps" / f"{name}.txt").read_text().splitlines()
    begin = (
        f"kubectl create namespace {namespace}; kubectl config set-context --current --namespace={namespace} >/dev/null"
    )
    ready = "until kubectl get configmap/kube-root-ca.crt serviceaccount/default; do sleep 0.1; done >/dev/null 2>&1"
    for line in (begin, ready, *steps, f"kubectl delete namespace {namespace} --wait=false"):
        if line.startswith("#") or ("--raw" in line and number in PATHLESS):
            continue
        outcome = await own.run("timeout", "90", "sh", "-c", line, **environment)
        assert outcome.code != 124, f"{side.name}: {line}: not within 90 s: {outcome.text}"
        out = _plain(outcome.out)
        if "kubectl describe" in line:  # of data in maps, which have no order
            out = "\n".join(sorted(out.splitlines()))
        printed.append(Printed(line, outcome.code, out, _plain(outcome.err)))
    return printed


async def _furnish(side: Side, namespace: str, number: str) -> Side:
    """A folder with the files that the steps name, and a kubeconfig that they may change."""
    folder = side.folder / namespace
    shutil.copytree(FOLDER / "files", folder)
    for file in folder.rglob("*.yaml"):
        file.write_text(file.read_text().replace("NAMESPACE", namespace).replace("VERSION", number))
    kubeconfig = folder / "kubeconfig"
    shutil.copy(side.kubeconfig, kubeconfig)
    return replace(side, folder=folder, kubeconfig=kubeconfig)


def _plain(printed: str) -> str:
    printed = same.text(printed)
    for pattern, word in _VARYING:
        printed = pattern.sub(word, printed)
    return printed
