"""The wall clock of one running process is set: its own copy of the vDSO, where programs read clocks without asking the
kernel, gets code that adds seconds.

Libraries that are loaded before a program (LD_PRELOAD) do not reach Go, which calls the vDSO by itself, and a time
namespace has no other wall clock. Monotonic clocks stay true, as when a machine's clock is set, and so do the kernel's
own times (of files, of timers). The code goes with the process: what it forks has the same clock, what is started anew,
by exec, has the right one, as it would have on another machine.
"""

from __future__ import annotations

import os
import platform
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import FileIO
from pathlib import Path

MAGIC = b"\0wrong!\0"
ROOM = 128
"""Bytes at the end of the vDSO's last page, behind all that is in it: ``MAGIC``, the seconds, then code."""
SECONDS = len(MAGIC)
CODE = SECONDS + 8
JUMP = 5
"""Bytes of a jump, which are written over the first ones of a function."""
PATIENCE = 5.0
"""Seconds until all threads of a process stand still, at a place where they do not hinder."""

# x86-64, by the calling convention of C: arguments in rdi and rsi; rax, rcx and r11 may be changed, which is what a
# system call changes. SECONDS stands for the distance from the next instruction to where they are stored.
CLOCK_GETTIME = (
    b"\xb8\xe4\0\0\0"  # mov eax, 228
    b"\x0f\x05"  # syscall
    b"\x85\xc0\x75\x13"  # test eax, eax; jnz out
    b"\x85\xff\x74\x05"  # test edi, edi; jz add: CLOCK_REALTIME
    b"\x83\xff\x05\x75\x0a"  # cmp edi, 5; jne out: CLOCK_REALTIME_COARSE
    b"\x48\x8b\x0d%b"  # add: mov rcx, [rip + SECONDS]
    b"\x48\x01\x0e"  # add [rsi], rcx
    b"\xc3"  # out: ret
)
GETTIMEOFDAY = (
    b"\xb8\x60\0\0\0"  # mov eax, 96
    b"\x0f\x05"  # syscall
    b"\x85\xc0\x75\x0f"  # test eax, eax; jnz out
    b"\x48\x85\xff\x74\x0a"  # test rdi, rdi; jz out
    b"\x48\x8b\x0d%b"  # mov rcx, [rip + SECONDS]
    b"\x48\x01\x0f"  # add [rdi], rcx
    b"\xc3"  # out: ret
)
TIME = (
    b"\xb8\xc9\0\0\0"  # mov eax, 201
    b"\x0f\x05"  # syscall
    b"\x48\x03\x05%b"  # add rax, [rip + SECONDS]
    b"\x48\x85\xff\x74\x03"  # test rdi, rdi; jz out
    b"\x48\x89\x07"  # mov [rdi], rax
    b"\xc3"  # out: ret
)
FUNCTIONS = {"__vdso_clock_gettime": CLOCK_GETTIME, "__vdso_gettimeofday": GETTIMEOFDAY, "__vdso_time": TIME}


class Unavailable(RuntimeError):
    """The clock of a process cannot be set here; says why in one line."""


@cache
def why_not() -> str | None:
    """Why clocks of processes cannot be set on this machine, found out with one."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()  # it runs: before, it has no vDSO
        try:
            set_clock(process.pid, 1)
        except Unavailable as error:
            return str(error)
        finally:
            process.kill()
    return None


def set_clock(pid: int, ahead: int) -> None:
    """Make the wall clock of a process wrong by so many seconds from now on, or with 0 right again.

    Raises Unavailable, ProcessLookupError where there is no such process, and PermissionError where it is not ours.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Unavailable(
            f"clocks of processes can be set wrong on Linux x86_64, not on {platform.platform(terse=True)}"
        )
    begin, end = _vdso(pid)
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(begin)
        image = memory.read(end - begin)
        prepared = image[-ROOM:].startswith(MAGIC)
        if not prepared and any(image[-ROOM:]):
            raise Unavailable(f"there is no room for {ROOM} bytes at the end of this kernel's vDSO")
        seconds = struct.pack("<q", ahead)
        entries = {} if prepared else {begin + entry: code for entry, code in _entries(image).items()}
        room = end - ROOM
        # Eight bytes may be copied in two parts, so that somebody who reads them meanwhile had half of each.
        with _standing_still(pid, entries):
            try:
                if prepared:
                    _write(memory, room + SECONDS, seconds)
                    return
                written = MAGIC + seconds
                jumps = {}
                for entry, code in entries.items():
                    place = room + len(written)
                    jumps[entry] = b"\xe9" + struct.pack("<i", place - (entry + JUMP))
                    after = place + code.index(b"%b") + 4
                    written += code % struct.pack("<i", room + SECONDS - after)
                _write(memory, room, written)
                for entry, jump in jumps.items():
                    _write(memory, entry, jump)
            except OSError as error:
                raise Unavailable(f"this kernel does not let the vDSO of a process be changed: {error}") from error


@contextmanager
def wrong_clock(pid: int | None, ahead: int) -> Iterator[None]:
    """Meanwhile it is wrong by so many seconds, if it is one that can be set."""
    assert pid is not None
    possible = ahead != 0 and why_not() is None
    if possible:
        set_clock(pid, ahead)
    try:
        yield
    finally:
        if possible:
            with suppress(ProcessLookupError):  # it may have ended
                set_clock(pid, 0)


def _write(memory: FileIO, address: int, data: bytes) -> None:
    memory.seek(address)
    memory.write(data)


def _vdso(pid: int) -> tuple[int, int]:
    """Where it begins and ends. A process that has just been started gets it a moment later than its id."""
    deadline = time.monotonic() + PATIENCE
    while not _ended(pid):
        with suppress(FileNotFoundError):
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if line.endswith("[vdso]"):
                    begin, _, end = line.partition(" ")[0].partition("-")
                    return int(begin, 16), int(end, 16)
        if time.monotonic() > deadline:
            raise Unavailable(f"process {pid} has no vDSO")
        time.sleep(0.001)
    raise ProcessLookupError(f"there is no process {pid}")


def _ended(pid: int) -> bool:
    return _state(Path(f"/proc/{pid}")) in ("", "Z", "X")


def _entries(image: bytes) -> dict[int, bytes]:
    """What is to be done in place of the function that begins there. ``image``: an ELF file, see elf(5)."""
    place, size, count = *struct.unpack_from("<Q", image, 0x28), *struct.unpack_from("<HH", image, 0x3A)
    sections = [struct.unpack_from("<IIQQQQII", image, place + size * number) for number in range(count)]
    found = {}
    for section in sections:
        if section[1] == 11:  # SHT_DYNSYM
            names = sections[section[6]][4]
            for symbol in range(section[4], section[4] + section[5], 24):
                name, _, value = struct.unpack_from("<IIQ", image, symbol)
                text = image[names + name : image.index(b"\0", names + name)].decode()
                if text in FUNCTIONS:
                    found[value] = FUNCTIONS[text]
    if len(found) != len(FUNCTIONS):
        raise Unavailable("this kernel's vDSO does not have the functions that are known")
    return found


@contextmanager
def _standing_still(pid: int, entries: dict[int, bytes]) -> Iterator[None]:
    """The process is stopped, and none of its threads is where a jump is written: such a one would go on in the
    middle of it. What was begun farther behind ends as it was, for there nothing is changed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        os.kill(pid, signal.SIGSTOP)
        try:
            while not _stopped(pid):
                if time.monotonic() > deadline:
                    raise Unavailable(f"process {pid} does not stop")
                time.sleep(0.001)
            if not any(entry < at < entry + JUMP for at in _counters(pid) for entry in entries):
                yield
                return
        finally:
            os.kill(pid, signal.SIGCONT)
        if time.monotonic() > deadline:
            raise Unavailable(f"process {pid} does nothing but ask for the time")
        time.sleep(0.001)


def _stopped(pid: int) -> bool:
    if _ended(pid):
        raise ProcessLookupError(f"process {pid} has ended")
    return all(_state(thread) in ("", "T", "Z", "X") for thread in _threads(pid))


def _state(task: Path) -> str:
    """Its letter, see proc_pid_stat(5); empty where there is none."""
    return _read(task / "stat").rpartition(")")[2].strip()[:1]


def _counters(pid: int) -> list[int]:
    """The instruction at which each thread goes on, the last word of proc_pid_syscall(5)."""
    return [int(text.split()[-1], 16) for thread in _threads(pid) if "0x" in (text := _read(thread / "syscall"))]


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except FileNotFoundError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # the thread has ended
