"""Mounted in FastAPI, behind proxies that take a prefix off the path and behind others."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from fastapi import FastAPI

from greenroom.transports.http.asgi import Application
from tests.support.agents import Stage
from tests.support.asgi import Peer, message, request

pytestmark = pytest.mark.anyio

MOUNTS = ["/agent", "/агент", "/an agent", "/a?b", "/a/b"]


@pytest.mark.filterwarnings("ignore:The `root_path` parameter")  # of new versions of FastAPI
@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize(
    ("root_path", "stripped"), [("", False), ("/api", True), ("/api", False), ("/api/", True)]
)
async def test_the_mount_is_no_tenant(
    app: Application, stage: Stage, mount: str, root_path: str, stripped: bool
) -> None:
    host = FastAPI(root_path=root_path)
    host.mount(mount, app)
    outside = await request(host, "GET", f"{quote(mount)}/.well-known/agent-card.json")
    base = outside.json["url"].removesuffix("/a2a")
    assert base == f"http://agent.test{root_path.rstrip('/')}{quote(mount)}"
    seen = base.removeprefix("http://agent.test")
    if stripped:
        seen = seen.removeprefix(root_path.rstrip("/"))
    sent = await Peer(host).rest("POST", f"{seen}/message:send", message())
    assert sent.status == 200
    assert (await Peer(host).rest("GET", f"{seen}/tasks")).status == 200
    assert [call.tenant for call in stage.calls] == [None, None]
    assert "result" in (await Peer(host).call("SendMessage", message(), path=f"{seen}/a2a")).json
    assert (await Peer(host).rest("GET", f"{seen}/acme/tasks")).status == 200
    assert stage.calls[-1].tenant == "acme"
