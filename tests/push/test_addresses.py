"""Where a server delivers to: nowhere near, neither when it is asked nor when it delivers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from greenroom.protocol import operations as ops
from greenroom.protocol import types as t
from greenroom.pushing import webhooks_of
from greenroom.runtime.push.ports import Webhooks
from greenroom.runtime.settings.push import PushSettings
from tests.support.clients import Answer, send
from tests.support.receiver import Receiver, Reply, receiving
from tests.support.servers import OnSockets

from .serving import local, serving, until

pytestmark = pytest.mark.anyio

HOSTILE = [
    "http://example.com/", "https://127.0.0.1/", "https://127.1/", "https://2130706433/",
    "https://0x7f.1/", "https://0177.0.0.1/", "https://0x7f000001/", "https://localhost/",
    "https://localhost./", "https://LOCALHOST/", "https://a.localhost/", "https://0.0.0.0/",
    "https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data/", "https://198.18.0.1/", "https://224.0.0.1/",
    "https://255.255.255.255/", "https://[::1]/", "https://[::]/", "https://[fe80::1]/",
    "https://[fc00::1]/", "https://[ff02::1]/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:169.254.169.254]/", "https://[::ffff:a00:1]/", "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/", "https://[::127.0.0.1]/", "https://user@example.com/",
    "https://user:pass@example.com/", "https://example.com@127.0.0.1/", "https://metadata/",
    "https://metadata.google.internal/", "https://db.internal/", "https://printer.local/",
    "https://example.com:22/", "https://example.com:25/", "https://example.com:0/", "ftp://a.b/",
    "file:///etc/passwd", "gopher://a.b/", "javascript:alert(1)", "data:,x", "https://", "https:///x",
    "//example.com/", "example.com", "/hook", "https://exa mple.com/", "https://[::1", "https://[v1.x]/",
    "https://example.com:99999/", "https://example.com:port/", "https://①②⑦.0.0.1/",
    "https://127。0。0。1/", "https://ｌｏｃａｌｈｏｓｔ/", "https://.../", "https://a..b/",
    "https://\u202eexample.com/", "https://example.com\r\nX: y/", "https://%6c/",
]  # fmt: skip


def guarded(**settings: Any) -> Webhooks:
    found = webhooks_of(PushSettings(first_delay=0.02, max_delay=0.1, **settings))
    assert found is not None
    return found


@pytest.fixture
async def served() -> AsyncIterator[OnSockets]:
    async with serving(guarded()) as found:
        yield found


async def registered(served: OnSockets, task: str, url: str) -> Answer:
    config = t.TaskPushNotificationConfig(url=url, task_id=task, id="hook")
    return await served.call("jsonrpc", ops.CREATE_PUSH, config)


async def asking(served: OnSockets) -> str:
    return str((await served.call("jsonrpc", ops.SEND, send("ask"))).body["task"]["id"])


async def test_no_hostile_address_is_registered(served: OnSockets) -> None:
    assert len(HOSTILE) >= 60
    task = await asking(served)
    for url in HOSTILE:
        answer = await registered(served, task, url)
        assert answer.outcome in ("INVALID_PARAMS", "-32602"), (url, answer.text)
        for secret in ("refused", "timed out", "private", "not a public", "pass"):
            assert secret not in answer.text.replace("getaddrinfo", ""), (url, answer.text)
    listed = await served.call(
        "jsonrpc", ops.LIST_PUSH, t.ListTaskPushNotificationConfigsRequest(task_id=task)
    )
    assert "hook" not in str(listed.body)


def leading(*answers: str) -> Any:
    """A resolver that gives one answer after the other, and the last one from then on."""
    left = list(answers)
    real = anyio.getaddrinfo

    async def getaddrinfo(host: str, port: Any, **more: Any) -> Any:
        if host != "hook.example":
            return await real(host, port, **more)
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    return getaddrinfo


async def test_a_name_that_turns_to_this_machine_after_it_was_checked_reaches_nothing(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setattr(anyio, "getaddrinfo", leading("93.184.215.14", "127.0.0.1"))
    async with serving(guarded(allow_http=True)) as served:
        task = await asking(served)
        answer = await registered(served, task, f"http://hook.example:{receiver.port}/")
        assert answer.outcome == "ok", answer.text
        await served.call("jsonrpc", ops.SEND, send("go on", task_id=task))
        for _ in range(1000):
            if served.runtime.statistics()["push_attempts_unreachable_total"]:
                break
            await anyio.sleep(0.01)
        else:
            pytest.fail("there was no attempt")
        assert receiver.ledger == []


async def test_what_an_operator_allows_is_reached(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setattr(anyio, "getaddrinfo", leading("127.0.0.1"))
    for allowed in ({"hosts": ("hook.example",)}, {"networks": ("127.0.0.0/8",)}):
        receiver.ledger.clear()
        async with serving(guarded(allow_http=True, **allowed)) as served:
            task = await asking(served)
            await registered(served, task, f"http://hook.example:{receiver.port}/")
            await served.call("jsonrpc", ops.SEND, send("go on", task_id=task))
            await until(receiver, len)


async def test_redirects_are_not_followed() -> None:
    with receiving() as inner:
        places = iter((inner.url, "/elsewhere", "http://169.254.169.254/"))

        def redirect(path: str, headers: Any, body: bytes) -> Reply:
            place = next(places, None)
            return Reply(307, {"location": place}) if place else Reply()

        with receiving(redirect) as outer:
            async with serving(local()) as served:
                task = await asking(served)
                await registered(served, task, outer.url)
                await served.call("jsonrpc", ops.SEND, send("go on", task_id=task))
                await until(outer, lambda ledger: any(b"COMPLETED" in x.body for x in ledger))
            assert [one.path for one in outer.ledger[:4]] == ["/"] * 4
            assert len({one.id for one in outer.ledger[:4]}) == 1
        assert inner.ledger == []


async def test_answers_that_break_off() -> None:
    """A connection that ends without an answer is tried again; a status counts as it stands."""
    replies = [Reply(0), Reply(0), Reply(200, cut=True)]

    def answer(path: str, headers: Any, body: bytes) -> Reply:
        return replies.pop(0) if replies else Reply()

    with receiving(answer) as receiver:
        async with serving(local()) as served:
            task = await asking(served)
            await registered(served, task, receiver.url)
            await served.call("jsonrpc", ops.SEND, send("go on", task_id=task))
            await until(receiver, lambda ledger: any(b"COMPLETED" in x.body for x in ledger))
        first = [one.id for one in receiver.ledger[:3]]
        assert len(set(first)) == 1
        assert receiver.ledger[3].id != first[0]


@pytest.mark.parametrize(
    "url",
    [
        "gopher://u:pw-secret@hook.example/path-secret?key=query-secret#part-secret",
        "https://u:pw-secret@hook.example/path-secret?key=query-secret#part-secret",
        "https://10.0.0.1/path-secret?key=query-secret",
        "https://hook.example:22/path-secret?key=query-secret",
        "https://hook.example:x/path-secret?key=query-secret",
        "https://[::x]/path-secret?key=query-secret",
    ],
)
async def test_the_log_shows_no_secret_of_a_refused_url(
    served: OnSockets, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = await registered(served, await asking(served), url)
    assert answer.outcome in ("INVALID_PARAMS", "-32602"), answer.text
    assert "a webhook was refused" in caplog.text
    assert "secret" not in caplog.text
    assert "secret" not in answer.text


async def test_what_operators_read_of_a_failure_has_no_path_and_no_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "greenroom")
    with receiving(lambda path, headers, body: Reply(0)) as receiver:  # ends without an answer
        async with serving(local()) as served:
            task = await asking(served)
            await registered(served, task, f"{receiver.url}/path-secret?key=query-secret")
            await served.call("jsonrpc", ops.SEND, send("go on", task_id=task))
            for _ in range(1000):
                if served.runtime.statistics()["push_attempts_unreachable_total"]:
                    break
                await anyio.sleep(0.01)
            else:
                pytest.fail("there was no attempt")
    assert "failing" in caplog.text
    assert "secret" not in caplog.text
