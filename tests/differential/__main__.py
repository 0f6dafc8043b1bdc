"""``python -m tests.differential --seed N [--requests N]``: exit code 1 if a difference was found."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.differential.compare import Report, compare
from tests.differential.ground import two_sides


def main() -> int:
    parser = argparse.ArgumentParser(prog="make differential", description="compare a workspace with a kube-apiserver")
    parser.add_argument("--seed", type=int, help="of the sequences; without one, a new one each time")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--differences", type=int, default=5, help="how many are looked for")
    parser.add_argument("--as-found", action="store_true", help="do not look for the smallest sequence")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(10**6)
    return asyncio.run(_run(seed, options))


async def _run(seed: int, options: argparse.Namespace) -> int:
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="differential-") as folder:
        async with two_sides(Path(folder)) as sides:
            began = time.monotonic()
            report: Report = await compare(
                *sides, seed=seed, requests=options.requests, most=options.differences, smallest=not options.as_found,
                say=lambda text: print(text, flush=True),
            )  # fmt: skip
            print(f"{report.summary()}, {time.monotonic() - began:.0f} s")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
