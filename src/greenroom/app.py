"""The composition root: agents, a store and settings in; an ASGI application or a server out.

The one module that knows runtime, stores and transports at once. It imports a server or a driver
only when one is asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

import anyio

from .settings.security import check_transport, secure
from .settings.settings import Settings, SettingsError, check_public_url, load
from .store_url import parse

if TYPE_CHECKING:
    from .runtime.handler.agent import Agent
    from .runtime.journal.store import Store
    from .runtime.security.limits import Limits
    from .runtime.security.policy import Security
    from .runtime.settings.push import PushSettings
    from .runtime.settings.settings import RuntimeSettings
    from .transports.http.asgi import Application
    from .transports.http.settings import HttpSettings


def asgi(
    *agents: Agent,
    store: str | Store = "memory://",
    public_url: str | None = None,
    grace: float = 10.0,
    http: HttpSettings | None = None,
    runtime: RuntimeSettings | None = None,
    security: Security | None = None,
    limits: Limits | None = None,
    tune_gc: bool = False,
    push: PushSettings | None = None,
) -> Application:
    """Return an ASGI application that serves ``agents``; the first one also at the root.

    Run it with any ASGI server, which starts and stops it by the lifespan protocol. Mounted in
    another application, whose server does not tell us: enter ``app.lifespan()`` in the host's
    own lifespan. Running handlers get ``grace`` seconds when the lifespan ends.

    ``tune_gc``: when the runtime has started, take what the process has loaded out of the garbage
    collector's sight and let the collector run rarely, as ``serve`` does. This is for the whole
    process: ask for it where the process serves agents above all.
    """
    from .pushing import webhooks_of
    from .runtime.runtime import Runtime
    from .runtime.settings.bounds import checked
    from .runtime.settings.push import PushSettings
    from .transports.http.asgi import Application

    if public_url is not None:
        check_public_url(public_url)
    opened = open_store(store) if isinstance(store, str) else store
    made = Runtime(
        agents,
        store=opened,
        settings=runtime,
        security=security,
        limits=limits,
        push=webhooks_of(checked(push or PushSettings())),
    )
    application = Application(made, http, public_url=public_url, grace=grace)
    application.tunes_gc = tune_gc
    return application


def serve(
    *agents: Agent | str,
    settings: Settings | None = None,
    security: Security | None = None,
    **overrides: object,
) -> None:
    """Serve ``agents`` until SIGTERM or SIGINT; does not return before.

    An agent is an ``Agent``, or its name as `greenroom serve` takes it (``"shop.agents:desk"``).
    ``overrides`` are fields of ``Settings`` (``port=8080``, ``store="memory://"``); without
    ``settings`` the environment (``GREENROOM_…``) counts below them. ``security`` (see
    ``greenroom.auth``) takes the place of the settings of the group ``auth``.
    Raises SettingsError, LoadError and ServerError, which say what to change.
    """
    from .loading import load_agent

    if settings is None:
        settings = load(environ=os.environ, overrides=overrides)
    elif overrides:
        raise TypeError("give either settings or single overrides, not both")
    made = [load_agent(agent) if isinstance(agent, str) else agent for agent in agents]
    start(made, settings, security)


def start(
    agents: Sequence[Agent],
    settings: Settings,
    security: Security | None = None,
    *,
    alone: bool = False,
) -> None:
    """What ``serve`` does. ``alone``: the process is the server's, and ends when it has stopped:
    as `greenroom serve` does, which waits for no thread that a plain function still keeps."""
    from .logs import configure

    configure(settings.log_level, settings.log_format)
    check(settings)
    options: dict[str, object] = {}
    if settings.backend == "asyncio" and settings.loop == "uvloop":
        options["use_uvloop"] = True
    body = partial(run, agents, settings, security, alone=alone)
    anyio.run(body, backend=settings.backend, backend_options=options)


async def run(
    agents: Sequence[Agent],
    settings: Settings,
    security: Security | None = None,
    *,
    alone: bool = False,
) -> None:
    """Serve inside a running event loop: what ``start`` runs."""
    from .announce import announce
    from .exporting import exporting
    from .transports.caller.proxies import Proxies
    from .transports.server.entrypoint import run as run_server
    from .transports.server.settings import ServerSettings

    try:
        security = security or secure(settings.auth, settings.public_url)
        check_transport(security, settings)
        app = asgi(
            *agents,
            store=open_store(settings.store, keep_lock=alone),
            public_url=settings.public_url,
            grace=settings.grace,
            http=settings.http,
            runtime=settings.runtime,
            security=security,
            limits=settings.limits,
            push=settings.push,
        )
    except (ValueError, OSError) as error:
        raise SettingsError(str(error)) from error
    grpc = None
    if settings.grpc_port is not None:
        from .transports.grpc.server import GrpcServer

        grpc = GrpcServer(
            app.runtime,
            settings.grpc,
            app.metrics,
            listen=settings.listen(settings.grpc_port),
            forwarding=settings.http.forwarding,
            public_url=settings.public_url,
        )
        app.mount(grpc)
    app.runtime.gate.exposed = _exposed(settings)
    server = ServerSettings(
        listen=settings.listen(settings.port),
        http2=settings.http2,
        keep_alive=settings.keep_alive,
        grace=settings.grace,
        deadline=settings.deadline,
        write_timeout=settings.http.write_timeout,
        tune_gc=settings.tune_gc,
        backlog=settings.backlog,
        max_connections=settings.max_connections,
        max_connections_per_address=settings.max_connections_per_address,
    )

    app.announces = False  # not before the address, which `ready` tells

    def ready(url: str) -> None:
        announce(url, agents, settings, grpc=None if grpc is None else grpc.address)
        app.runtime.gate.announce()

    proxies = Proxies(settings.http.trusted_proxies)
    await run_server(
        app,
        server,
        announce=ready,
        beside=grpc,
        around=exporting(os.environ),
        alone=alone,
        speaks_for_many=proxies.trusts,
    )


def check(settings: Settings) -> None:
    """Raise SettingsError for settings out of bounds, and for some that do not go together."""
    from .runtime.settings.bounds import checked

    try:
        checked(settings)  # those that a program made, not `load`
    except ValueError as error:
        raise SettingsError(str(error)) from None
    scheme = settings.store.partition(":")[0]
    if settings.workers > 1:
        raise SettingsError(
            f"workers = {settings.workers} needs a store that processes can share, and {scheme} "
            "is for one process: run one worker, or one server for each store"
        )
    if settings.grace > settings.deadline:
        raise SettingsError(
            f"grace = {settings.grace:g} is longer than deadline = {settings.deadline:g}, at which "
            "the process goes whoever still runs: make the deadline some seconds longer than the "
            "grace"
        )
    if settings.loop == "uvloop":
        if settings.backend == "trio":
            raise SettingsError("loop = uvloop is for the asyncio backend; leave it out with trio")
        _need("uvloop", "greenroom[uvloop]")
    if settings.grpc_port is not None:
        if settings.backend == "trio":
            raise SettingsError(
                "grpc_port needs backend = asyncio; on trio JSON-RPC, REST and SSE are served"
            )
        for module in ("h2", "betterproto2"):
            _need(module, "greenroom[grpc]")
    if settings.backend == "trio":
        _need("trio", "greenroom[trio]")


def _exposed(settings: Settings) -> bool:
    """Whether others than this machine may reach the server, by itself or through a proxy."""
    try:
        local = settings.host == "localhost" or ip_address(settings.host).is_loopback
    except ValueError:
        local = False
    return not local or bool(settings.public_url or settings.http.trusted_proxies)


def _need(module: str, extra: str) -> None:
    from importlib.util import find_spec

    if module not in sys.modules and find_spec(module) is None:
        raise SettingsError(f"{module} is not installed: pip install '{extra}'")


def open_store(url: str, *, keep_lock: bool = False) -> Store:
    """Return the store that ``url`` names; it is opened when the runtime starts.

    ``memory://`` keeps nothing; ``sqlite:///greenroom.db`` is a path relative to the working
    directory, ``sqlite:////var/lib/greenroom.db`` an absolute one; ``?durability=relaxed`` commits
    without waiting for the disk. In a path ``#`` is a letter like any other; write ``%3F`` for a
    question mark and ``%25`` for a percent sign. ``keep_lock``: nobody else serves from the file
    until this process has ended, also when the store was closed before. Raises SettingsError.
    """
    path, durability = parse(url)
    if path is None:
        from .stores.memory import MemoryStore

        return MemoryStore()
    from .stores.sqlite import SQLiteStore

    return SQLiteStore(path, durability=durability, keep_lock=keep_lock)
