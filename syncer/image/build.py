"""From contents to layers to an archive, each kept for the next time under a name made of what went into it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from proxy.release import own_version
from syncer.image import archive, contents
from syncer.image.archive import ImageConfig, Layer, write_archive, write_layer
from syncer.image.contents import (
    APPLICATION,
    ENVIRONMENT,
    PYTHON,
    Contents,
    application,
    distribution,
    interpreter,
    libraries,
)
from syncer.image.errors import ImageError
from syncer.image.sbom import PLACE, bill_of_materials

SYNCER_START = f"#!/{PYTHON}\nimport sys\n\nfrom syncer.main import main\n\nsys.exit(main())\n".encode()
KCP_START = f"#!/{PYTHON}\nfrom proxy.cli.kcp import main\n\nmain()\n".encode()
SYNCER = ("syncer", "proxy.kube", "proxy.logs", "proxy.release")
"""Of ours, what it is made of."""
EXPRESSIONS = ("cel_expr_python", "re2")
"""What `kcp` loads where there are expressions alone."""
COMMANDS = "usr/local/bin"


def default_cache() -> Path:
    """Where layers are kept: ``kcp/images`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kcp" / "images"


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds images; ``cache`` holds the layers."""

    cache: Path

    def syncer(self, target: Path, *, tag: str) -> bytes:
        """The syncer's image; its bill of materials. Seconds the first time, milliseconds when nothing has changed.

        Raises ImageError.
        """
        files = application(*SYNCER)
        image_code = f"{APPLICATION}/syncer/image/"
        files = {path: source for path, source in files.items() if not path.startswith(image_code)}
        files |= distribution("kcp", own_version())
        return self.program(target, tag=tag, files=files, name="kcp-syncer", start=SYNCER_START)

    def kcp(self, target: Path, *, tag: str) -> bytes:
        """The image of `kcp`, for proxies in front of shards that run elsewhere; its bill of materials.

        Raises ImageError.
        """
        files = application("proxy", "syncer", "manifests", *EXPRESSIONS) | distribution("kcp", own_version())
        return self.program(target, tag=tag, files=files, name="kcp", start=KCP_START)

    def program(self, target: Path, *, tag: str, files: Contents, name: str, start: bytes) -> bytes:
        """An image of ``files`` beside the interpreter, that runs ``start`` as command ``name``; what is in it."""
        base = interpreter()
        needed = libraries(path for path in files.values() if isinstance(path, Path))
        own = {f"{COMMANDS}/{name}": start, **files, **{k: v for k, v in needed.items() if k not in base}}
        bill = own[PLACE.format(name=name)] = bill_of_materials(name, {**base, **own})
        config = ImageConfig(entrypoint=[f"/{COMMANDS}/{name}"], environment=ENVIRONMENT)
        write_archive(target, tag=full_name(tag), layers=[self.layer(base), self.layer(own)], config=config)
        return bill

    def layer(self, files: Contents) -> Layer:
        """The layer of ``files``, from the cache if it was made before from the same files."""
        self.cache.mkdir(parents=True, exist_ok=True)
        key = fingerprint(files)
        packed, note = self.cache / f"{key}.tar.gz", self.cache / f"{key}.json"
        try:
            known = json.loads(note.read_text())
            if packed.stat().st_size == known["size"]:
                return Layer(packed, known["digest"], known["diff_id"])
        except (OSError, ValueError, KeyError):
            pass
        with tempfile.TemporaryDirectory(prefix=".layer-", dir=self.cache) as folder:
            root, made = Path(folder, "root"), Path(folder, "layer")
            stage(files, root)
            layer = write_layer(root, made)
            value = {"digest": layer.digest, "diff_id": layer.diff_id, "size": layer.size}
            made.replace(packed)
            Path(folder, "note").write_text(json.dumps(value))
            Path(folder, "note").replace(note)
        return Layer(packed, layer.digest, layer.diff_id)


def full_name(tag: str) -> str:
    """``name:tag``, ``latest`` where no tag is given. Raises ImageError for what is no image name."""
    if not tag or tag != tag.lower() or any(char.isspace() for char in tag) or tag.endswith(("/", ":")):
        raise ImageError(f"{tag!r} is not the name of an image, such as localhost/kcp-syncer:dev")
    return tag if ":" in tag.rpartition("/")[2] else f"{tag}:latest"


def fingerprint(files: Contents) -> str:
    """Names what a layer of ``files`` would be: paths, sizes, times, and the code that builds it."""
    digest = hashlib.sha256(sys.version.encode())
    for module in (archive, contents, sys.modules[__name__]):
        digest.update(Path(str(module.__file__)).read_bytes())
    for path, source in sorted(files.items()):
        if isinstance(source, Path):
            status = source.stat()
            digest.update(f"{path}\0{source}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_mode}\n".encode())
        else:
            digest.update(f"{path}\0{len(source)}\n".encode() + source)
    return digest.hexdigest()[:32]


def stage(files: Contents, root: Path) -> None:
    """Lay ``files`` out below ``root``, Python modules compiled."""
    for path, source in sorted(files.items()):
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            shutil.copyfile(source, place)
            place.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)
        else:
            place.write_bytes(source)
            place.chmod(0o755 if source.startswith(b"#!") else 0o644)
    if (root / "tmp").is_dir():
        (root / "tmp").chmod(0o1777)
    compiled(root)


def compiled(root: Path) -> None:
    """Compile all modules below ``root``: the user of a container may not write there, and start-up is to be quick.

    Valid whatever the times of the sources are (https://peps.python.org/pep-0552/), as layers hold none.
    """
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(root), "-p", "/", str(root)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    outcome = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if outcome.returncode:
        raise ImageError(f"compiling failed: {(outcome.stdout + outcome.stderr).strip().splitlines()[-1:]}")
