"""``kubectl ws``, the program. What is typed all day is done without click: a quarter of the tenth of a second that it
takes would be click's import."""

from __future__ import annotations

import sys

from proxy.cli.overrides import Overrides
from proxy.cli.places import go, list_current, show_current
from proxy.cli.session import Session, exits

COMMANDS = frozenset({"create", "create-context", "current", "delete", "list", "use"})
"""Words that are no workspaces to go to."""


def main() -> None:
    words = sys.argv[1:]
    session = Session(Overrides())
    with exits():
        if not words:
            show_current(session, short=False)
        elif words == ["list"]:
            list_current(session, None)
        elif len(words) == 1 and words[0] not in COMMANDS and (words[0] == "-" or not words[0].startswith("-")):
            go(session, words[0])
        else:
            from proxy.cli.flags import run
            from proxy.cli.ws_commands import ws

            run(ws, "kubectl ws")
