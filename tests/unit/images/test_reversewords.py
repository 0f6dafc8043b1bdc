"""The demo application."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.shard.addresses import free_port
from tests.images import archives

FOLDER = Path(str(archives.__file__)).parent


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-IS", FOLDER / "reversewords.py"], env={"PORT": str(port)})
    address = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
            break
        except OSError:
            time.sleep(0.02)
    yield address
    process.terminate()
    assert process.wait(10) == 0


def fetch(url: str, data: bytes | None = None) -> str:
    with urllib.request.urlopen(url, data, timeout=5) as answer:
        text: str = answer.read().decode()
        return text


def test_reverses(url: str) -> None:
    assert fetch(f"{url}/?words=one+two+three") == "three two one\n"
    assert fetch(url, b"good  day") == "day good\n"


def test_says_who_it_is_without_words(url: str) -> None:
    assert fetch(url).strip()
    assert fetch(f"{url}/healthz") == "ok\n"


def test_pause_ends_when_told() -> None:
    process = subprocess.Popen([sys.executable, "-IS", FOLDER / "pause.py"])
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(10) == 0
