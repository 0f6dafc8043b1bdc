"""What all plugin commands share: kubectl's flags, and errors as one line."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import click

from proxy.cli.overrides import Overrides
from proxy.cli.session import Session, exits, say

_OPTIONS = [
    click.option("--kubeconfig", metavar="FILE", help="Kubeconfig to use instead of KUBECONFIG and ~/.kube/config."),
    click.option("--context", metavar="NAME", help="Context to use."),
    click.option("--cluster", metavar="NAME", help="Cluster of the kubeconfig to use."),
    click.option("--user", metavar="NAME", help="User of the kubeconfig to use."),
    click.option("-s", "--server", metavar="URL", help="Server to use."),
    click.option("--token", metavar="TOKEN", help="Bearer token to use."),
    click.option("--certificate-authority", metavar="FILE", help="CA that the server's certificate is checked with."),
    click.option("--client-certificate", metavar="FILE", help="Client certificate."),
    click.option("--client-key", metavar="FILE", help="Key of the client certificate."),
    click.option("--insecure-skip-tls-verify", is_flag=True, default=None, help="Do not check the server."),
    click.option("--tls-server-name", metavar="NAME", help="Name to check the server's certificate for."),
    click.option("--as", "act_as", metavar="USER", help="Act as another user."),
    click.option("--as-group", "act_as_group", multiple=True, metavar="GROUP", help="Act as a member of a group."),
]

Command = Callable[..., Any]


def kubectl_flags(command: Command) -> Command:
    """Adds kubectl's flags; the command gets them as its first argument, a `Session`."""

    @functools.wraps(command)
    def wrapped(*args: Any, **values: Any) -> Any:
        names = Overrides._fields
        given = {name: values.pop(name) for name in list(values) if name in names}
        # Flags may stand before the subcommand as well as behind it.
        before = click.get_current_context().find_object(Overrides)
        if before is not None:
            given = {name: value or getattr(before, name) for name, value in given.items()}
        overrides = Overrides(**given)
        return command(Session(overrides), *args, **values)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def run(command: click.Command, program: str) -> None:
    """Run a plugin: an error is one line on stderr and exit code 1, bad usage 1 as with kubectl."""
    with exits():
        try:
            code = command.main(prog_name=program, standalone_mode=False)
        except click.exceptions.Abort:
            sys.exit(130)
        except click.ClickException as error:
            say(f"{'error' if isinstance(error, Plain) else 'Error'}: {error.format_message()}", err=True)
            sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


class Plain(click.ClickException):
    """An error that kubectl itself would word with a small ``error:``."""
