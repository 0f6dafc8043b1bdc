"""The bill of materials of an image."""

from __future__ import annotations

import importlib.metadata
import json
import platform

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from syncer.image.build import SYNCER
from syncer.image.contents import LIBRARIES, application, interpreter, libraries
from syncer.image.sbom import bill_of_materials


def test_everything_that_is_in_an_image_is_named() -> None:
    files = {**interpreter(), **application(*SYNCER)}
    text = bill_of_materials("kcp-syncer", files)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None
    assert bill_of_materials("kcp-syncer", files) == text
    bill = json.loads(text)
    versions = {item["name"].lower(): item.get("version") for item in bill["components"]}
    assert versions["python"] == platform.python_version()
    for name in ("aiohttp", "orjson", "pyyaml", "uvloop"):
        assert versions[name] == importlib.metadata.version(name)
    assert not {"pytest", "rich", "kcp"} & set(versions)
    shared = {path for path in files if path.startswith(f"{LIBRARIES}/lib") and ".so" in path}
    assert {name for name in versions if name.startswith(LIBRARIES)} == {path.lower() for path in shared}
    assert libraries([]) == {}
    whole = {item["bom-ref"] for item in bill["components"]}
    assert set(bill["dependencies"][0]["dependsOn"]) == whole
