"""CRDs of the Prometheus operator, out of its Go module: what its ServiceMonitors and PodMonitors must look like."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from proxy.binaries import BinaryError
from proxy.binaries.build import toolchain
from proxy.binaries.find import cache_folder
from tests.clusters.errors import ClusterError
from tests.clusters.system import run

MODULE, VERSION = "github.com/prometheus-operator/prometheus-operator", "v0.85.0"
SUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
KINDS = ("servicemonitors", "podmonitors", "prometheusrules")


def _place(kind: str) -> Path:
    return cache_folder().parent / f"prometheus-operator-{VERSION}" / f"{kind}.yaml"


def there() -> bool:
    return all(_place(kind).is_file() for kind in KINDS)


def definition(kind: str) -> dict[str, Any]:
    """The CRD of ``kind``, a plural."""
    found: dict[str, Any] = yaml.safe_load(_place(kind).read_text())
    return found


def obtain(say: Callable[[str], None]) -> None:
    """It is no error where it cannot be had: its test says that it is skipped."""
    if there():
        return
    say("obtaining the Prometheus operator's CRDs")
    try:
        go = toolchain(lambda _: None)
        folder = _place(KINDS[0]).parent
        folder.mkdir(parents=True, exist_ok=True)
        told = run("env", "-C", folder, go, "mod", "download", "-json", f"{MODULE}@{VERSION}", timeout=300)
        module = json.loads(told)
        if module["Sum"] != SUM:
            raise ClusterError(f"{MODULE} has sum {module['Sum']}")
        for kind in KINDS:
            source = Path(module["Dir"]) / "example" / "prometheus-operator-crd" / f"monitoring.coreos.com_{kind}.yaml"
            temporary = _place(kind).with_suffix(".new")
            shutil.copyfile(source, temporary)
            os.replace(temporary, _place(kind))
    except (BinaryError, ClusterError, OSError, ValueError, KeyError) as error:
        say(f"manifests for the Prometheus operator will not be tested: {error}")
