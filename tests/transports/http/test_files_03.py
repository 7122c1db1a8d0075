"""Files in 0.3: each spelling, read once, with its name and type, and back as it came."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from greenroom import Agent, Runtime, TaskContext
from greenroom.stores.memory import MemoryStore
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.asgi import request
from tests.support.servers import in_memory

pytestmark = pytest.mark.anyio

PASSWORD = b64encode(b"password").decode()
SDK = [("user-agent", "python-httpx/0.28.1")]


@pytest.fixture
async def desk() -> AsyncIterator[Application]:
    agent = Agent("Files", "Tells what a file is, and sends it back.", input_modes=["*/*"])

    @agent.handler
    async def tell(ctx: TaskContext) -> None:
        await ctx.artifact("file", list(ctx.files))
        for part in ctx.files:
            where = part.url if part.raw is None else part.raw
            await ctx.artifact("told", f"{part.filename} {part.media_type} {where!r}")

    async with in_memory(
        runtime=Runtime([agent], store=MemoryStore()), http=HttpSettings()
    ) as server:
        yield server.app


async def rpc(app: Application, part: dict[str, Any]) -> Any:
    message = {"kind": "message", "messageId": "m", "role": "user", "parts": [part]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
    kind = [("content-type", "application/json")]
    answer = await request(app, "POST", "/a2a", headers=kind, body=json.dumps(body).encode())
    return answer.json


async def rest(app: Application, message: dict[str, Any], headers: Any = ()) -> Any:
    body = {"messageId": "m", "role": "ROLE_USER", **message}
    name = "request" if "content" in message else "message"
    sent = {name: body, "configuration": {"blocking": True}}
    kind = [("content-type", "application/json"), *headers]
    answer = await request(
        app, "POST", "/v1/message:send", headers=kind, body=json.dumps(sent).encode()
    )
    return answer.json["task"]["artifacts"]


FILES: list[tuple[dict[str, Any], str]] = [
    ({"bytes": PASSWORD}, "None None b'password'"),
    ({"fileWithBytes": PASSWORD}, "None None b'password'"),
    ({"data": PASSWORD}, "None None b'password'"),
    ({"file_with_bytes": PASSWORD}, "None None b'password'"),
    ({"bytes": "", "name": "empty"}, "empty None b''"),
    ({"fileWithBytes": b64encode(b"QUJD").decode()}, "None None b'QUJD'"),
    ({"bytes": "-_8"}, "None None b'\\xfb\\xff'"),
    ({"bytes": "+/8"}, "None None b'\\xfb\\xff'"),
    ({"bytes": "+/8="}, "None None b'\\xfb\\xff'"),
    ({"bytes": "cGFz\r\nc3dv\ncmQ=\n"}, "None None b'password'"),
    ({"uri": "https://x.test/f"}, "None None 'https://x.test/f'"),
    ({"fileWithUri": "https://x.test/f"}, "None None 'https://x.test/f'"),
    ({"bytes": PASSWORD, "fileWithBytes": PASSWORD}, "None None b'password'"),
    ({"bytes": "YSxi", "mimeType": "text/csv", "name": "a.csv"}, "a.csv text/csv b'a,b'"),
    ({"bytes": "YSxi", "mediaType": "text/csv", "filename": "a.csv"}, "a.csv text/csv b'a,b'"),
    ({"bytes": "YSxi", "media_type": "text/csv", "mime_type": ""}, "None text/csv b'a,b'"),
    ({"uri": "u:x", "mediaType": "text/csv", "filename": "a.csv"}, "a.csv text/csv 'u:x'"),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["file", None])
@pytest.mark.parametrize(("file", "told"), FILES)
async def test_a_file_is_read_as_it_is_spelled(
    desk: Application, file: dict[str, Any], told: str, kind: str | None
) -> None:
    part: dict[str, Any] = {"file": file} if kind is None else {"kind": kind, "file": file}
    [back, found] = (await rpc(desk, part))["result"]["artifacts"]
    assert found["parts"][0]["text"] == told
    if "b'" in told:
        content = b64decode(back["parts"][0]["file"]["bytes"])
        assert told.endswith(repr(content))


CURRENT: list[tuple[dict[str, Any], str]] = [
    ({"raw": PASSWORD}, "None None b'password'"),
    ({"raw": ""}, "None None b''"),
    ({"raw": "YSxi", "mediaType": "text/csv", "filename": "a.csv"}, "a.csv text/csv b'a,b'"),
    ({"raw": "YSxi", "media_type": "text/csv"}, "None text/csv b'a,b'"),
    ({"url": "https://x.test/f"}, "None None 'https://x.test/f'"),
    ({"kind": "file", "url": "u:x", "filename": "a.csv"}, "a.csv None 'u:x'"),
]


@pytest.mark.parametrize(("part", "told"), CURRENT)
async def test_a_part_as_1_0_writes_it_is_taken_for_a_file(
    desk: Application, part: dict[str, Any], told: str
) -> None:
    [_, found] = (await rpc(desk, part))["result"]["artifacts"]
    assert found["parts"][0]["text"] == told


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "parts": [{"text": "Summarise this"}]},
        {"role": "user", "parts": [{"type": "text", "text": "Summarise this"}]},
        {"role": "user", "messageId": "", "parts": [{"text": "x", "mediaType": "text/plain"}]},
        {"role": "user", "messageId": None, "parts": [{"data": {"a": 1}}]},
        {"role": "user", "parts": [{"file": {"bytes": PASSWORD}}, {"url": "u:x"}]},
    ],
)
async def test_a_message_without_an_id_and_kinds_is_answered_and_never_a_repeat(
    desk: Application, message: dict[str, Any]
) -> None:
    """As the documentation of other products has it."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
    kind = [("content-type", "application/json")]
    tasks = set()
    for _ in range(2):
        answer = await request(desk, "POST", "/a2a", headers=kind, body=json.dumps(body).encode())
        assert answer.json["result"]["status"]["state"] == "completed", answer.body
        [first, *_] = answer.json["result"]["history"]
        assert first["messageId"]
        tasks.add(answer.json["result"]["id"])
    assert len(tasks) == 2
    plain = json.dumps({"message": message}).encode()
    answer = await request(desk, "POST", "/v1/message:send", headers=kind, body=plain)
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    "file",
    [
        {},
        {"bytes": PASSWORD, "uri": "u:x"},
        {"bytes": "a"},
        {"bytes": "", "uri": "u:x"},
        {"bytes": "YQ", "fileWithBytes": "Yg"},
    ],
)
async def test_a_file_that_is_none_is_refused(desk: Application, file: dict[str, Any]) -> None:
    assert (await rpc(desk, {"kind": "file", "file": file}))["error"]["code"] == -32602


@pytest.mark.parametrize("headers", [(), [("user-agent", "curl/8.5.0")], [("user-agent", "node")]])
@pytest.mark.parametrize("member", ["content", "parts"])
async def test_rest_has_base64_once_and_gives_back_what_came(
    desk: Application, member: str, headers: Any
) -> None:
    sent = {"fileWithBytes": PASSWORD, "name": "f"}
    [back, found] = await rest(desk, {member: [{"file": sent}]}, headers)
    assert found["parts"] == [{"text": "f None b'password'"}]
    assert back["parts"][0]["file"] == sent


async def test_rest_of_the_python_sdk_has_base64_text_in_the_bytes(desk: Application) -> None:
    sent = {"fileWithBytes": b64encode(PASSWORD.encode()).decode(), "name": "f"}
    [back, found] = await rest(desk, {"content": [{"file": sent}]}, SDK)
    assert found["parts"] == [{"text": "f None b'password'"}]
    assert back["parts"][0]["file"] == sent


async def test_a_body_by_hand_is_not_taken_for_one_of_the_python_sdk(desk: Application) -> None:
    part = {"kind": "file", "file": {"fileWithBytes": PASSWORD}}
    [_, found] = await rest(desk, {"parts": [part]}, SDK)
    assert found["parts"] == [{"text": "None None b'password'"}]
