"""An engine of another machine, over SSH: this interface only attaches to it."""

from __future__ import annotations

import asyncio

from hhtui.client.remote_link import RemoteLink
from hhtui.client.tunnel import Tunnel
from hhtui.tui.link import Link, Transport


class RemoteConnector:
    """Like ``Connector``, for the home at the other end of ``tunnel``; it never starts an engine there."""

    in_process = False
    ours = False

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel

    async def connect(self) -> Transport:
        """Connect unless connected; HomeHelperError tells what is in the way."""
        link = RemoteLink(self.tunnel)
        await link.reach()
        return link

    async def leave(self, link: Link) -> None:
        """Everything goes on over there."""

    async def stop(self, link: Link, *, keep_apps: bool) -> None:
        """End the engine over there, and wait until it answers no more; up to a minute."""
        await link.stop_engine(keep_apps=keep_apps)
        for _ in range(120):
            if not await link.answers():
                return
            await asyncio.sleep(0.5)

    def farewell(self, *, stopped: bool) -> str:
        """What is said on the terminal after leaving."""
        if stopped:
            return f"hhtui: all apps and the engine of {self.tunnel.label} are stopped."
        return f"hhtui: left {self.tunnel.label}; its engine and apps run on."

    def close(self) -> None:
        """Disconnect."""
        self.tunnel.close()
