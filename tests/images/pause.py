"""Holds the namespaces of a pod open until it is told to end, and buries what is orphaned in them."""

import os
import signal
import sys

signal.signal(signal.SIGCHLD, lambda *_: None)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda *_: sys.exit(0))
while True:
    signal.pause()
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
