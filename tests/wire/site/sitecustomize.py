"""Run by Python at its start wherever this folder is in PYTHONPATH (`tests.wire.monitor`)."""

import importlib.util
import os
import sys
from pathlib import Path

if "proxy.server.worker" in sys.orig_argv and "PYTHONWIRE" in os.environ:
    spec = importlib.util.spec_from_file_location("kcp_tap", Path(__file__).parents[1] / "tap.py")
    assert spec is not None
    assert spec.loader is not None
    tap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tap)
    tap.listen(Path(os.environ["PYTHONWIRE"]))
