"""As much of tar as ``kubectl cp`` asks for in a container: ``tar cf - PATH``, ``tar xmf - [-C FOLDER]``."""

import sys
import tarfile


def main() -> None:
    if "c" in sys.argv[1]:
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
            for path in sys.argv[3:]:
                archive.add(path)
    else:
        folder = sys.argv[sys.argv.index("-C") + 1] if "-C" in sys.argv else "."
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(folder, filter="data")
            else:  # Python before 3.11.4
                archive.extractall(folder)


main()
