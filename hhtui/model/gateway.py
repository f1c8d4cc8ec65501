"""The gateway as the API has it: whether it is on, what it has opened, and by which names apps are reached."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, SecretStr

from hhtui.model.base import Model


class GatewayApp(Model):
    """An app with a page: its ``name``, ``lamp.local``, and where its page is by it.

    ``up``: visitors reach it, or wake it. ``announced``: mDNS answers for the name. ``clash``: why the name has a
    number. ``open_port``: it listens on all addresses on this port, so that whoever knows it passes the login.
    """

    app_id: str
    title: str
    name: str
    url: str
    up: bool
    public: bool = False
    announced: bool = False
    clash: str | None = None
    open_port: int | None = None


class GatewayStatus(Model):
    """``state`` is ``up`` once visitors get answers; ``problem`` says why not, ``notes`` what is otherwise than wanted.

    ``http_port`` and ``https_port`` are those that are open, None: none is. ``fingerprint`` is of the certificate that
    devices are to trust (SHA-256).
    """

    enabled: bool
    state: Literal["off", "starting", "up", "failed"]
    problem: str | None = None
    notes: list[str] = Field(default_factory=list)
    program: str | None = None
    pid: int | None = None
    host: str
    url: str | None = None
    http_port: int | None = None
    https_port: int | None = None
    tls: Literal["off", "internal", "own"] = "off"
    certificate_url: str | None = None
    fingerprint: str | None = None
    login: bool = False
    names: bool = False
    only: bool = False
    addresses: list[str] = Field(default_factory=list)
    apps: list[GatewayApp] = Field(default_factory=list)


class GatewaySwitch(Model):
    """Turn the gateway on or off; what is None stays as the configuration has it."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool
    tls: Literal["off", "internal", "own"] | None = None


class GatewayPassword(Model):
    """The password that visitors are asked for; None: they are asked for none."""

    model_config = ConfigDict(extra="forbid")

    password: SecretStr | None
