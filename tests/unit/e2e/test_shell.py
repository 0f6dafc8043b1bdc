"""The shell in which transcripts are played."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.shell import Shell, ShellError


@pytest_asyncio.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    made = Shell(tmp_path, os.environ)
    await made.start()
    yield made
    await made.close()


async def test_what_one_command_sets_holds_for_the_next(shell: Shell) -> None:
    assert await shell.run("export WORD=hello; mkdir sub; cd sub") == ("", 0)
    assert await shell.run("echo $WORD; basename $PWD") == ("hello\nsub\n", 0)


async def test_both_streams_in_order_and_the_exit_code(shell: Shell) -> None:
    assert await shell.run("echo one; echo two >&2; echo three; (exit 7)") == ("one\ntwo\nthree\n", 7)


async def test_output_without_a_last_newline(shell: Shell) -> None:
    assert await shell.run("printf ocp-sno") == ("ocp-sno", 0)


async def test_the_first_failure_of_a_pipe_counts(shell: Shell) -> None:
    assert await shell.run("false | cat") == ("", 1)
    assert await shell.run("echo x | grep y") == ("", 1)


async def test_more_output_than_a_pipe_holds(shell: Shell) -> None:
    output, code = await shell.run("head -c 3000000 /dev/zero | tr '\\0' x")
    assert (len(output), code) == (3_000_000, 0)


async def test_a_command_that_does_not_end(shell: Shell) -> None:
    with pytest.raises(ShellError, match="did not end within"):
        await shell.run("sleep 60", timeout=0.2)


async def test_background_and_its_interruption(shell: Shell) -> None:
    program = """bash -c 'trap "echo bye; exit 3" INT; echo up; while :; do sleep 0.05; done'"""
    assert "up" in await shell.background(program, until="up", timeout=10)
    started = time.monotonic()
    assert await shell.interrupt() == 3
    assert time.monotonic() - started < 5


async def test_background_that_ends_too_early(shell: Shell) -> None:
    with pytest.raises(ShellError, match="no such place"):
        await shell.background("bash -c 'echo no such place; exit 1'", until="up", timeout=10)


async def test_a_program_that_ignores_ctrl_c_is_told(shell: Shell) -> None:
    await shell.background("bash -c 'trap : INT; echo up; while :; do sleep 0.05; done'", until="up", timeout=10)
    with pytest.raises(ShellError, match="no effect"):
        await shell.interrupt(timeout=0.3)
