"""What holds for all tests, whatever they start."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.leaks import is_log, leaks, secrets_of
from tests.wire.monitor import Wire

# How long an example takes says something of the machine and of what else runs there.
settings.register_profile("kcp", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kcp")


FAILED = "failed: "
"""A line for each test that fails, as soon as it does: a run that breaks off says nothing at its end."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    terminal = item.config.pluginmanager.get_plugin("terminalreporter")
    if report.failed and terminal is not None:
        terminal.write_line(f"\n{FAILED}{item.nodeid} ({report.when}) {''.join(report.longreprtext.splitlines()[-1:])}")
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster-provider",
        choices=("auto", "nodes", "kwok", "kind"),
        default="auto",
        help="what makes physical clusters: kind (needs Docker), or this repository, with real nodes or KWOK's",
    )


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    """All that kcps that are started from now on write to their clients is looked at."""
    return Wire(tmp_path_factory.mktemp("wire"))


@pytest.fixture(scope="session", autouse=True)
def nothing_secret_is_logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """At the very end: no log of anything that ran, in this process or another, has a token or key in it."""
    folder = tmp_path_factory.getbasetemp()
    handler = logging.FileHandler(folder / "tests.log")
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    ours = [logging.getLogger(name) for name in ("proxy", "syncer")]
    for logger in ours:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    yield
    for logger in ours:
        logger.removeHandler(handler)
    handler.close()
    started = {file.parent for file in folder.rglob("admin.kubeconfig") if (file.parent / "server.json").is_file()}
    assert all(_is_looked_at(root) for root in started)
    assert leaks(folder) == []


def _is_looked_at(root: Path) -> bool:
    """Whether of this kcp there is something to find, and something to find it in."""
    return bool(secrets_of(root)) and any(is_log(file) and file.stat().st_size for file in (root / "log").iterdir())
