"""A Redis client in a few lines (RESP2), copied beside each app: no package has to be installed for it."""

import socket
from urllib.parse import unquote, urlsplit


class Redis:
    def __init__(self, url=None, host=None, port=None, password=None, username=None):
        if url:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
            username, password = unquote(parts.username or ""), unquote(parts.password or "")
        self.socket = socket.create_connection((host, int(port)))
        self.file = self.socket.makefile("rb")
        if password:
            self("AUTH", *([username] if username else []), password)

    def __call__(self, *words):
        encoded = [str(word).encode() for word in words]
        head = b"*%d\r\n" % len(encoded)
        self.socket.sendall(head + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded))
        return self.answer()

    def answer(self):
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return None if rest == b"-1" else [self.answer() for _ in range(int(rest))]
        return rest.decode()
