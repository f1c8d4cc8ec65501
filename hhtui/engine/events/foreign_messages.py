"""Messages of other programs: read without harm, and sampled fairly.

A flood on one channel costs neither memory nor the other channels.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

# Per second, over all channels and for a single one, and how many may come at once before sampling starts.
TOTAL_RATE, TOTAL_BURST = 50.0, 100.0
CHANNEL_RATE, CHANNEL_BURST = 25.0, 50.0
# Channels counted apart; the messages of further ones share one account.
_MAX_CHANNELS = 64
MAX_FOREIGN = 64 * 1024


class _Bucket:
    """A token bucket; times in seconds of a monotonic clock."""

    __slots__ = ("burst", "rate", "stamp", "tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = burst
        self.stamp = now

    def fill(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.stamp) * self.rate)
        self.stamp = now
        return self.tokens >= 1

    def wait(self) -> float:
        """Seconds until the next token, counted from the last ``fill``."""
        return max(0.0, (1 - self.tokens) / self.rate)


class Account:
    """What is known of one channel: its rate, how many were left out, and the newest of those."""

    __slots__ = ("bucket", "latest", "left_out")

    def __init__(self, now: float) -> None:
        self.bucket = _Bucket(CHANNEL_RATE, CHANNEL_BURST, now)
        self.left_out = 0
        self.latest: tuple[str, bytes] | None = None

    def idle(self, now: float) -> bool:
        """Nothing is held, and a new account would be no different."""
        return self.latest is None and self.bucket.fill(now) and self.bucket.tokens >= CHANNEL_BURST


class Sampler:
    """Decides which foreign messages are let through.

    Of those left out, the newest of each channel is kept: ``due`` hands it out once there is room, so the last
    message of a flood is always seen, with the exact number of those before it that were not.
    """

    def __init__(self, now: float) -> None:
        self._total = _Bucket(TOTAL_RATE, TOTAL_BURST, now)
        self._accounts: dict[str, Account] = {}
        self._shared = Account(now)
        self._waiting: dict[Account, None] = {}
        self._swept = now

    def admit(self, channel: str, raw: bytes, now: float) -> int | None:
        """How many of the channel were left out before this message, or None if it is left out itself."""
        account = self._accounts.get(channel) or self._open(channel, now)
        if not (account.bucket.fill(now) and self._total.fill(now)):
            account.left_out += 1
            account.latest = (channel, raw)
            self._waiting[account] = None
            return None
        account.bucket.tokens -= 1
        self._total.tokens -= 1
        left_out, account.left_out, account.latest = account.left_out, 0, None
        self._waiting.pop(account, None)
        return left_out

    def due(self, now: float) -> list[tuple[str, bytes, int]]:
        """``(channel, raw, left out before it)`` for every held message that there is room for now."""
        out: list[tuple[str, bytes, int]] = []
        for account in list(self._waiting):
            if not self._total.fill(now):
                break
            if account.latest is None or not account.bucket.fill(now):
                continue
            account.bucket.tokens -= 1
            self._total.tokens -= 1
            channel, raw = account.latest
            out.append((channel, raw, account.left_out - 1))
            account.left_out, account.latest = 0, None
            del self._waiting[account]
        return out

    def delay(self) -> float | None:
        """Seconds until ``due`` may have something; None: nothing is held."""
        if not self._waiting:
            return None
        return max(0.005, self._total.wait(), min(account.bucket.wait() for account in self._waiting))

    def _open(self, channel: str, now: float) -> Account:
        if len(self._accounts) >= _MAX_CHANNELS and now - self._swept >= 1:
            self._swept = now
            self._accounts = {name: account for name, account in self._accounts.items() if not account.idle(now)}
        if len(self._accounts) >= _MAX_CHANNELS:
            return self._shared
        account = self._accounts[channel] = Account(now)
        return account


def read_foreign(raw: bytes) -> tuple[dict[str, Any] | None, str | None]:
    """``(payload, None)`` for a JSON object of at most 64 KiB, else ``(None, text)`` cut at 64 KiB.

    pydantic_core's parser bounds nesting (200) and digits itself and refuses NaN and lone surrogates, so whatever
    comes out can be written as JSON again.
    """
    if len(raw) <= MAX_FOREIGN and raw.lstrip()[:1] == b"{":
        try:
            payload = from_json(raw, allow_inf_nan=False, cache_strings="none")
        except ValueError:
            payload = None
        if isinstance(payload, dict):
            return payload, None
    return None, raw[:MAX_FOREIGN].decode("utf-8", "replace")


def weight(raw: bytes) -> int:
    """About how many bytes ``raw`` takes in memory once parsed: small JSON values cost 64 bytes and more each."""
    return 256 + len(raw) + 64 * (raw.count(b",") + raw.count(b"[") + raw.count(b"{"))
