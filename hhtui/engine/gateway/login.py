"""The gateway's one login: its password, the tokens that its cookies hold, single-use tickets, and how often to try."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from hhtui.errors import InvalidInputError
from hhtui.storage import read_json_object, set_aside, sync_folder, write_json

SHORTEST_PASSWORD, LONGEST_PASSWORD = 8, 1000
SESSION_SECONDS = 30 * 86_400
TICKET_SECONDS = 60.0
# So often a visitor, and all together, may be wrong within so many seconds.
_TRIES, _ALL_TRIES, _TRIES_SECONDS = 5, 50, 300.0
_MOST_TICKETS = 200
# argon2id as OWASP's password storage cheat sheet has it for machines with little memory.
_MEMORY_KIB, _PASSES = 19_456, 2


@dataclass(frozen=True, slots=True)
class Ticket:
    """Lets a visitor who has logged in at one name in at another, once."""

    host: str
    visitor: str
    path: str
    expires: float


class Login:
    """The password's hash and the key of the tokens, in one file that only the engine's user may read.

    A token is for one host, and with it for one visitor's address where it travels unencrypted, since an app's own
    port is sent the cookies of all names of the machine. Another password ends all sessions.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash: str | None = None
        self._key = b""
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()
        self._wrong: list[tuple[float, str]] = []
        # One at a time: each takes 19 MB for a moment.
        self._verifying = asyncio.Lock()

    @property
    def is_set(self) -> bool:
        """Whether there is a password, so that visitors are asked for it."""
        return self._hash is not None

    def read(self) -> str | None:
        """Take up what is in the file; what is wrong with it, kept aside, in words. Blocks."""
        try:
            document = read_json_object(self._path)
            hashed, key = document["password"], document["key"]
            if not isinstance(hashed, str) or not isinstance(key, str) or not key:
                raise ValueError("is not of the form that it must have")
            self._hash, self._key = hashed, bytes.fromhex(key)
        except FileNotFoundError:
            self._hash = None
        except OSError as error:
            # Nobody is let in by a file that cannot be read.
            self._hash, self._key = "", secrets.token_bytes(32)
            return f"{self._path}: {error.strerror}: nobody can log in"
        except (ValueError, KeyError):
            self._hash, self._key = "", secrets.token_bytes(32)
            return f"{set_aside(self._path)}: is broken: nobody can log in: `hhtui gateway password`"
        return None

    async def set_password(self, password: str | None) -> None:
        """Ask for this one from now on, None: for none. InvalidInputError; OSError changes nothing."""
        loop = asyncio.get_running_loop()
        if password is not None:
            if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
                raise InvalidInputError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
            try:
                password.encode()
            except UnicodeEncodeError:
                raise InvalidInputError("the password is not UTF-8") from None
        # Until it is on disk and in force: of two that are set at once the same one is both.
        async with self._verifying:
            if password is None:
                await loop.run_in_executor(None, self._forget)
                self._hash = None
                return
            hashed = await loop.run_in_executor(None, _hash, password)
            key = secrets.token_bytes(32)
            await loop.run_in_executor(None, self._write, hashed, key)
            self._hash, self._key = hashed, key
            self._tickets.clear()

    async def check(self, password: str, visitor: str) -> bool:
        """Whether it is the password; a wrong one counts."""
        hashed = self._hash
        if not hashed or len(password) > LONGEST_PASSWORD:
            return False
        loop = asyncio.get_running_loop()
        async with self._verifying:
            # Those that came together are counted one after the other.
            if self.must_wait(visitor):
                return False
            right = await loop.run_in_executor(None, _verify, hashed, password)
            if not right:
                self._wrong.append((time.monotonic(), visitor))
        return right

    def must_wait(self, visitor: str) -> int:
        """Seconds until this visitor may try again; 0: now."""
        now = time.monotonic()
        self._wrong = [(at, who) for at, who in self._wrong if now - at < _TRIES_SECONDS]
        for limit, times in (
            (_TRIES, [at for at, who in self._wrong if who == visitor]),
            (_ALL_TRIES, [at for at, _ in self._wrong]),
        ):
            if len(times) >= limit:
                return max(int(times[-limit] + _TRIES_SECONDS - now) + 1, 1)
        return 0

    def token(self, kind: str, host: str, visitor: str) -> str:
        """What a cookie of this kind holds for a visitor of this host; ``visitor`` "" for whoever has it."""
        body = f"{int(time.time()) + SESSION_SECONDS}.{secrets.token_urlsafe(9)}"
        return f"{body}.{self._sign(kind, host, visitor, body)}"

    def accepts(self, token: str, kind: str, host: str, visitor: str) -> bool:
        """Whether ``token`` was given for the same, and is not too old."""
        body, _, signature = token.rpartition(".")
        expires = body.partition(".")[0]
        if not (self._hash and expires.isascii() and expires.isdigit() and len(expires) < 13 and signature.isascii()):
            return False
        return int(expires) > time.time() and hmac.compare_digest(signature, self._sign(kind, host, visitor, body))

    def ticket(self, host: str, visitor: str, path: str) -> str:
        """A single-use ticket, good for a minute."""
        name = secrets.token_urlsafe(24)
        self._tickets[name] = Ticket(host, visitor, path, time.monotonic() + TICKET_SECONDS)
        while len(self._tickets) > _MOST_TICKETS:
            self._tickets.popitem(last=False)
        return name

    def use(self, name: str, host: str, visitor: str) -> str | None:
        """The path that the ticket leads to; None: it is another's, used up or too old."""
        ticket = self._tickets.pop(name, None)
        if ticket is None or (ticket.host, ticket.visitor) != (host, visitor) or ticket.expires < time.monotonic():
            return None
        return ticket.path

    def _sign(self, kind: str, host: str, visitor: str, body: str) -> str:
        message = "\n".join((kind, host, visitor, body)).encode()
        return base64.urlsafe_b64encode(hmac.digest(self._key, message, hashlib.sha256)).decode().rstrip("=")

    def _write(self, hashed: str, key: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(self._path.parent, 0o700)
        write_json(self._path, {"password": hashed, "key": key.hex()}, 0o600)

    def _forget(self) -> None:
        if self._path.exists():
            self._path.unlink()
            sync_folder(self._path.parent)


def _hash(password: str) -> str:
    from argon2 import PasswordHasher  # only where there is a password

    hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1)
    return hasher.hash(password)


def _verify(hashed: str, password: str) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return PasswordHasher().verify(hashed, password)
    except (Argon2Error, InvalidHashError):
        return False
