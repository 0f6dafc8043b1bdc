"""Fields of a protobuf message, as far as documents need them: https://protobuf.dev/programming-guides/encoding/."""

from __future__ import annotations

from collections.abc import Iterator


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field; numbers have none."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 2:
            length = varint()
            yield key >> 3, message[at : at + length]
            at += length
        elif key & 7 == 0:
            varint()
            yield key >> 3, b""
        else:
            size = {1: 8, 5: 4}[key & 7]
            yield key >> 3, message[at : at + size]
            at += size


def messages(message: bytes, *path: int) -> list[bytes]:
    """Those that stand at a ``path`` of field numbers."""
    if not path:
        return [message]
    return [found for number, part in fields(message) if number == path[0] for found in messages(part, *path[1:])]


def strings(message: bytes) -> dict[int, str]:
    """Fields read as text; the last of each number."""
    return {number: part.decode("utf-8", "replace") for number, part in fields(message)}


def named(entries: list[bytes]) -> list[tuple[str, bytes]]:
    """Name and value of each entry, as maps of OpenAPI have them."""
    return [(strings(entry).get(1, ""), b"".join(messages(entry, 2))) for entry in entries]
