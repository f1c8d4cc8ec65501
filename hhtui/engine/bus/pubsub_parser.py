"""Reads the messages of one pattern subscription from raw bytes (RESP2), at about 1 µs each."""

from __future__ import annotations

from hhtui.engine.bus.plain import MAX_FOREIGN

_MAX_CHANNEL = 512
# How far the end of a length line may be away.
_MAX_LINE = 32
_PARTIAL = -1


class ProtocolError(Exception):
    """The bytes are no answer to a subscription; the connection is of no more use."""


class PubSubParser:
    """Fed with chunks as they come, gives ``(channel, payload)`` pairs.

    Never holds more than one message: of a payload over 64 KiB the beginning (64 KiB and one byte) is given, of a
    channel's name the first 512 bytes, and the rest is skipped as it streams in.
    """

    def __init__(self, pattern: str) -> None:
        name = pattern.encode()
        self._head = b"*4\r\n$8\r\npmessage\r\n$%d\r\n%s\r\n$" % (len(name), name)
        self._rest = b""
        self._skip = 0
        self._channel: bytes | None = None

    def feed(self, chunk: bytes) -> list[tuple[bytes, bytes]]:
        """The messages that are complete with ``chunk``; ProtocolError."""
        buffer = self._rest + chunk if self._rest else chunk
        size = len(buffer)
        out: list[tuple[bytes, bytes]] = []
        position = 0
        head = self._head
        while position < size:
            if self._skip:
                step = min(self._skip, size - position)
                self._skip -= step
                position += step
                continue
            if self._channel is None:
                if buffer.startswith(head, position):
                    position, done = self._read_channel(buffer, position, size)
                    if not done:
                        break
                else:
                    end = self._other(buffer, position)
                    if end == _PARTIAL:
                        break
                    position = end
                continue
            line = buffer.find(b"\r\n", position, position + _MAX_LINE)
            if line < 0:
                if size - position >= _MAX_LINE:
                    raise ProtocolError("a payload without a length")
                break
            length = _number(buffer[position + 1 : line])
            start = line + 2
            end = start + length
            if end + 2 <= size:
                out.append((self._channel, buffer[start : min(end, start + MAX_FOREIGN + 1)]))
                position = end + 2
            elif size - start > MAX_FOREIGN:
                out.append((self._channel, buffer[start : start + MAX_FOREIGN + 1]))
                self._skip = end + 2 - size
                position = size
            else:
                break
            self._channel = None
        self._rest = buffer[position:] if position < size else b""
        return out

    def _read_channel(self, buffer: bytes, position: int, size: int) -> tuple[int, bool]:
        begin = position + len(self._head)
        line = buffer.find(b"\r\n", begin, begin + _MAX_LINE)
        if line < 0:
            if size - begin >= _MAX_LINE:
                raise ProtocolError("a channel without a length")
            return position, False
        length = _number(buffer[begin:line])
        start = line + 2
        end = start + length
        if end + 2 <= size:
            self._channel = buffer[start : min(end, start + _MAX_CHANNEL)]
            return end + 2, True
        if size - start >= _MAX_CHANNEL:
            self._channel = buffer[start : start + _MAX_CHANNEL]
            self._skip = end + 2 - size
            return size, True
        return position, False

    def _other(self, buffer: bytes, position: int) -> int:
        """Step over any answer that is no message (a pong, a confirmation); the position behind it."""
        if self._head.startswith(buffer[position : position + len(self._head)]):
            return _PARTIAL
        line = buffer.find(b"\r\n", position, position + 1024)
        if line < 0:
            if len(buffer) - position >= 1024:
                raise ProtocolError("an answer without an end")
            return _PARTIAL
        kind = buffer[position : position + 1]
        text = buffer[position + 1 : line]
        if kind == b"-":
            raise ProtocolError(text[:200].decode("utf-8", "replace"))
        if kind in (b"+", b":"):
            return line + 2
        if kind == b"$":
            end = line + 2 + (_number(text) + 2 if text != b"-1" else 0)
            return end if end <= len(buffer) else _PARTIAL
        if kind != b"*":
            raise ProtocolError("an answer of no known kind")
        after = line + 2
        for _ in range(_number(text)):
            after = self._other(buffer, after) if after < len(buffer) else _PARTIAL
            if after == _PARTIAL:
                return _PARTIAL
        return after


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 12:
        raise ProtocolError("a length that is no number")
    return int(text)
