"""``python -m tests.images [FOLDER]``: build the archives and say where they are."""

import sys
from pathlib import Path

from syncer.image.errors import ImageError
from tests.images.archives import ensure

try:
    for archive in ensure(Path(sys.argv[1]) if len(sys.argv) > 1 else None):
        print(archive)
except ImageError as error:
    sys.exit(f"error: {error}")
