"""``python -m syncer.image OUT.tar --tag localhost/kcp-syncer:dev``"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from syncer.image.build import Builder, default_cache
from syncer.image.errors import ImageError
from syncer.image.sbom import PLACE


@click.command()
@click.argument("archive", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--program", type=click.Choice(("kcp-syncer", "kcp")), default="kcp-syncer", show_default=True, help="What it runs."
)
@click.option("--tag", required=True, help="Name of the image, e.g. localhost/kcp-syncer:dev.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_cache,
    help="Folder that keeps layers for the next time.",
)
@click.option(
    "--sbom",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"Write the bill of materials that is in the image (/{PLACE.format(name='PROGRAM')}) there as well.",
)
def main(archive: Path, program: str, tag: str, cache: Path, sbom: Path | None) -> None:
    """Write an image of the syncer, or of kcp itself, as an OCI archive to ARCHIVE: no container engine is needed.

    It holds the Python that runs this command, so build it on the platform on which it is to run.

    \b
      python -m syncer.image syncer.tar --tag localhost/kcp-syncer:dev
      python -m syncer.image kcp.tar --program kcp --tag localhost/kcp:dev
      python -m syncer.image kcp.tar --program kcp --tag localhost/kcp:dev --sbom kcp.cdx.json
      ctr -n k8s.io images import syncer.tar
    """
    try:
        builder = Builder(cache)
        bill = (builder.kcp if program == "kcp" else builder.syncer)(archive, tag=tag)
        if sbom is not None:
            sbom.write_bytes(bill)
    except (ImageError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    click.echo(f"{archive}: {tag}, {archive.stat().st_size / 1e6:.0f} MB")


main()
