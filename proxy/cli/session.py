"""A plugin's command: its kubeconfig, the client of its context, and one line where something is wrong."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.cli.kubeconfig import Kubeconfig, KubeconfigError
from proxy.cli.overrides import CommandError, Overrides
from proxy.cli.rest import RestClient
from proxy.kube.errors import StatusError


class Session:
    """What a command works with; read when it is asked for. Raises KubeconfigError, ClientError then."""

    def __init__(self, overrides: Overrides) -> None:
        self.overrides = overrides

    @functools.cached_property
    def config(self) -> Kubeconfig:
        return Kubeconfig.load(self.overrides.kubeconfig)

    @functools.cached_property
    def client(self) -> RestClient:
        return RestClient.of(self.config, self.overrides)


@contextmanager
def exits() -> Iterator[None]:
    """Around a plugin: what a person can do something about is one line on stderr and exit code 1."""
    try:
        yield
    except (CommandError, KubeconfigError, StatusError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        sys.exit(130)


def say(text: str, *, err: bool = False) -> None:
    """A line, at once; ``err``: on stderr."""
    print(text, file=sys.stderr if err else sys.stdout, flush=True)
