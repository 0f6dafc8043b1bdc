"""A software bill of materials: which releases of what are in an image, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/).

Nothing in it depends on when or where it was made, so that the same content makes the same image.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from proxy.release import own_version
from syncer.image.contents import APPLICATION, LIBRARIES, Contents

PLACE = "usr/local/share/sbom/{name}.cdx.json"
"""In the image."""
_NAMESPACE = uuid.UUID("6f0c1a51-3f3e-5d0f-9a0e-6b1f0d2c7a44")

Component = dict[str, Any]


def bill_of_materials(name: str, files: Contents) -> bytes:
    """Of the image of program ``name``: Python, the packages in ``files``, and the shared libraries beside them."""
    components = [_python(), *_packages(files), *_libraries(files)]
    about: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": name, "name": name, "version": own_version()}},
        "components": components,
        "dependencies": [{"ref": name, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    text = json.dumps(about, sort_keys=True)
    return json.dumps({"serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, text)}", **about}, indent=2).encode()


def _python() -> Component:
    version = platform.python_version()
    return {
        "type": "platform",
        "bom-ref": f"pkg:generic/python@{version}",
        "purl": f"pkg:generic/python@{version}",
        "name": "python",
        "version": version,
        "licenses": [{"license": {"id": "PSF-2.0"}}],
    }


def _packages(files: Contents) -> Iterable[Component]:
    """Distributions of which a package or module is in the image; ours is the image itself."""
    tops = {path.split("/")[1].partition(".")[0] for path in files if path.startswith(f"{APPLICATION}/")}
    owners = importlib.metadata.packages_distributions()
    names = {_normal(owner) for top in tops for owner in owners.get(top, ())} - {"kcp"}
    for name in sorted(names):
        distribution = importlib.metadata.distribution(name)
        purl = f"pkg:pypi/{name}@{distribution.version}"
        found: Component = {
            "type": "library",
            "bom-ref": purl,
            "purl": purl,
            "name": distribution.metadata["Name"],
            "version": distribution.version,
        }
        licenses = _licenses(distribution.metadata.json)
        yield {**found, "licenses": licenses} if licenses else found


def _licenses(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """https://packaging.python.org/en/latest/specifications/core-metadata/: an SPDX expression, or words."""
    if metadata.get("license_expression"):
        return [{"expression": metadata["license_expression"]}]
    words = str(metadata.get("license") or "")
    return [{"license": {"name": words}}] if words and "\n" not in words else []


def _libraries(files: Contents) -> Iterable[Component]:
    """Shared libraries of the machine that the image was made on: known by name alone."""
    for path, source in sorted(files.items()):
        if (
            path.startswith(f"{LIBRARIES}/")
            and path.count("/") == LIBRARIES.count("/") + 1
            and isinstance(source, Path)
        ):
            yield {"type": "file", "bom-ref": f"file:{path}", "name": path}


def _normal(name: str) -> str:
    """https://packaging.python.org/en/latest/specifications/name-normalization/"""
    return re.sub(r"[-_.]+", "-", name).lower()
