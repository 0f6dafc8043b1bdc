"""What commands on a kcp of this machine share: the flag for its folder, its administrator, errors as one line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from proxy.cli.kubeconfig import Kubeconfig, KubeconfigError
from proxy.cli.overrides import ClientError, Overrides
from proxy.cli.rest import RestClient
from proxy.kube.errors import StatusError

Command = Callable[..., Any]

root_flag = click.option(
    "--root-directory", type=click.Path(file_okay=False, path_type=Path), default=".kcp", show_default=True,
    help="The folder of `kcp start`.",
)  # fmt: skip


@contextmanager
def one_line(*failures: type[Exception]) -> Iterator[None]:
    """What a person can do something about, ``failures`` among it, ends a command with a line."""
    expected: tuple[type[Exception], ...] = (KubeconfigError, ClientError, StatusError, *failures)
    try:
        yield
    except expected as error:
        raise click.ClickException(str(error)) from error


def administered(context: str) -> Callable[[Command], Command]:
    """The command gets a client of ``context`` of the administrator's kubeconfig as its first argument."""

    def decorated(command: Command) -> Command:
        @root_flag
        @click.option(
            "--kubeconfig", metavar="FILE", help=f"Kubeconfig with context {context} (default: the administrator's)."
        )
        @functools.wraps(command)
        def wrapped(*args: Any, root_directory: Path, kubeconfig: str | None, **values: Any) -> Any:
            file = kubeconfig or str(root_directory / "admin.kubeconfig")
            if not Path(file).exists():
                raise click.ClickException(f"{file} does not exist; --root-directory names the folder of `kcp start`")
            with one_line():
                return command(RestClient.of(Kubeconfig.load(file), Overrides(context=context)), *args, **values)

        return wrapped

    return decorated
