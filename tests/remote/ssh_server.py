"""A real SSH server on loopback, in a thread: keys, commands, forwarded Unix sockets; it can be cut off and return."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import asyncssh

BIN = Path(sys.executable).parent


class SshServer:
    """``config`` is an ssh configuration in which it is called ``kitchen``; ``stranger`` has a key it does not know."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.port = 0
        self.banner = ""
        self.environ: dict[str, str] = {}
        self.forwards = True
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.logins = 0
        # Further keys that open it, as the lines of authorized_keys.
        self.authorised: list[str] = []
        self._keys = {name: asyncssh.generate_private_key("ssh-ed25519") for name in ("host", "user", "other")}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="ssh-server")
        self._server: asyncssh.SSHAcceptor | None = None

    def start(self) -> SshServer:
        """Listen, and write the keys and the configuration."""
        for name, key in self._keys.items():
            path = self.folder / name
            path.write_bytes(key.export_private_key("openssh"))
            path.chmod(0o600)
        self._thread.start()
        self.listen()
        public = self._keys["host"].export_public_key("openssh").decode().strip()
        known = self.folder / "known"
        known.write_text(f"[127.0.0.1]:{self.port} {public}\n")
        common = f"HostName 127.0.0.1\n  Port {self.port}\n  User pi\n  IdentitiesOnly yes"
        self.config.write_text(
            f"Host kitchen\n  {common}\n  IdentityFile {self.folder}/user\n  UserKnownHostsFile {known}\n"
            f"Host stranger\n  {common}\n  IdentityFile {self.folder}/other\n  UserKnownHostsFile {known}\n"
            f"Host unknown\n  {common}\n  IdentityFile {self.folder}/user\n  UserKnownHostsFile {self.folder}/none\n"
        )
        return self

    @property
    def ssh(self) -> str:
        """What HHTUI_SSH is set to."""
        return f"ssh -F {self.config}"

    def listen(self) -> None:
        """Take connections (again), on the same port."""
        self._server = self._call(self._listening())
        self.port = self._server.get_port()

    def cut(self) -> None:
        """Take no connections any more, and break those that stand, with no word of farewell."""
        self._call(self._cut())

    def set_up_anew(self) -> None:
        """Be another server at the same place: with a key of the host that nobody has seen."""
        self.cut()
        self._keys["host"] = asyncssh.generate_private_key("ssh-ed25519")
        self.listen()

    def stop(self) -> None:
        """End."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listening(self) -> asyncssh.SSHAcceptor:
        outer = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                outer.connections.append(conn)
                self._conn = conn

            def begin_auth(self, username: str) -> bool:
                if outer.banner:
                    self._conn.send_auth_banner(outer.banner)
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                more = [asyncssh.import_public_key(line) for line in outer.authorised]
                return key.public_data in {one.public_data for one in (outer._keys["user"], *more)}

            def auth_completed(self) -> None:
                outer.logins += 1

            def unix_connection_requested(self, dest_path: str) -> bool:
                if not outer.forwards:
                    # As OpenSSH's server does without AllowStreamLocalForwarding.
                    raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
                return True

        return await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=Server,
            server_host_keys=[self._keys["host"]],
            process_factory=self._run,
            encoding=None,
            # What the tests need of it is quick.
            login_timeout=10,
        )

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("HOMEHELPER_", "HHTUI_"))}
        environ = {**environ, "PATH": f"{BIN}:/usr/bin:/bin", "LANG": "C.UTF-8", **self.environ}
        child = await asyncio.create_subprocess_shell(
            process.command or "",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environ,
            start_new_session=True,
        )
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        feeding = asyncio.create_task(_pump(process.stdin, child.stdin))
        # All that it says is on its way before the end is told.
        await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
        process.exit(await child.wait())
        feeding.cancel()

    async def _cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.abort()
            await connection.wait_closed()
        self.connections.clear()
        if self._server is not None:
            # From Python 3.12 on this waits for the connections, too.
            await self._server.wait_closed()
            self._server = None


async def _pump(source: Any, target: Any) -> None:
    """Hand on what comes until its end; an end of the connection is one, too."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    if isinstance(target, asyncio.StreamWriter):
        target.close()
