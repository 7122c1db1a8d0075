"""Streams as clients see them: events, ids, resumption, heartbeats, slow and absent readers."""

from __future__ import annotations

import gc
import json
from collections.abc import MutableMapping, Sequence
from typing import Any

import anyio
import pytest

from greenroom.protocol.errors import UnavailableError
from greenroom.protocol.frame import Frame
from greenroom.protocol.types import (
    StreamResponse,
    Task,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.exchange import Exchange
from greenroom.transports.http.settings import HttpSettings
from tests.support.agents import Stage
from tests.support.asgi import Peer, Response, Wire, message, opened

pytestmark = pytest.mark.anyio

JSON = ("content-type", "application/json")
V10 = ("a2a-version", "1.0")


def rpc(method: str, params: Any, id: Any = 1) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode()


def sending(app: Application, text: str, **more: Any) -> Any:
    """Open a stream by a message over REST."""
    return opened(
        app, "POST", "/message:stream", headers=[JSON, V10],
        body=json.dumps(message(text)).encode(), **more,
    )  # fmt: skip


def watching(app: Application, task: str, *headers: tuple[str, str], **more: Any) -> Any:
    """Subscribe to a task over REST."""
    return opened(app, "GET", f"/tasks/{task}:subscribe", headers=[V10, *headers], **more)


def data(response: Response) -> list[Any]:
    return [json.loads(event.data) for event in response.events]


async def task_of(wire: Wire) -> str:
    events = await wire.events(1)
    body: str = json.loads(events[0].data)["task"]["id"]
    return body


def still_open(app: Application) -> tuple[int, int]:
    return len(app.open_responses.open), app.runtime.statistics()["streams_open"]


async def test_over_jsonrpc_each_event_is_an_answer_with_the_requests_id(app: Application) -> None:
    answer = await Peer(app).call("SendStreamingMessage", message("count 3"), id="mine")
    assert answer.status == 200
    assert answer["content-type"] == "text/event-stream"
    assert answer["cache-control"] == "no-store"
    assert answer["x-accel-buffering"] == "no"
    assert answer["a2a-version"] == "1.0"
    assert answer.get("content-length") is None
    events = data(answer)
    assert {event["jsonrpc"] for event in events} == {"2.0"}
    assert {event["id"] for event in events} == {"mine"}
    kinds = [next(iter(event["result"])) for event in events]
    assert kinds[0] == "task"
    assert kinds[-1] == "statusUpdate"
    assert events[-1]["result"]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
    text = "".join(
        part["text"]
        for event in events
        if "artifactUpdate" in event["result"]
        for part in event["result"]["artifactUpdate"]["artifact"]["parts"]
    )
    assert text == "0 1 2 "


async def test_over_rest_each_event_is_the_bare_object(app: Application) -> None:
    answer = await Peer(app).rest("POST", "/message:stream", message())
    assert answer["content-type"] == "text/event-stream"
    assert [next(iter(event)) for event in data(answer)] == [
        "task",
        "statusUpdate",
        "artifactUpdate",
        "statusUpdate",
    ]


async def test_every_event_is_one_line_and_its_id_the_generation(app: Application) -> None:
    answer = await Peer(app, "1.1").rest("POST", "/message:stream", message("a\nb"))
    events = answer.events
    assert [event.id for event in events] == ["1", "2", "3", "4"]
    generations = [next(iter(event.values())).get("generation") for event in data(answer)]
    assert generations == [1, 2, 3, 4]
    lines = answer.body.split(b"\n")
    assert sum(line.startswith(b"data:") for line in lines) == 4


@pytest.mark.parametrize("version", [None, "0.3"])
async def test_03_streams_in_its_own_words(app: Application, version: str | None) -> None:
    params = {
        "message": {
            "kind": "message",
            "messageId": "m",
            "role": "user",
            "parts": [{"kind": "text", "text": "hi"}],
        }
    }
    answer = await Peer(app, version).call("message/stream", params)
    assert answer["a2a-version"] == "0.3"
    results = [event["result"] for event in data(answer)]
    assert [result["kind"] for result in results] == [
        "task",
        "status-update",
        "artifact-update",
        "status-update",
    ]
    assert results[-1]["final"] is True
    assert results[-1]["status"]["state"] == "completed"


async def test_a_direct_message_is_a_stream_of_one_without_id(app: Application) -> None:
    answer = await Peer(app).rest("POST", "/a2a/agents/other/message:stream", message())
    assert [next(iter(event)) for event in data(answer)] == ["message"]
    assert answer.events[0].id == ""


@pytest.mark.parametrize("binding", ["jsonrpc", "rest"])
async def test_what_fails_at_once_is_no_stream(app: Application, binding: str) -> None:
    if binding == "jsonrpc":
        answer = await Peer(app).call("SubscribeToTask", {"id": "x"})
        assert answer.status == 200
        assert answer.json["error"]["code"] == -32001
    else:
        answer = await Peer(app).rest("POST", "/tasks/x:subscribe")
        assert answer.status == 404
    assert answer["content-type"] == "application/json"
    assert still_open(app) == (0, 0)


async def test_clients_of_03_get_the_errors_of_streaming_methods_as_an_event(
    app: Application,
) -> None:
    answer = await Peer(app, "0.3").call("tasks/resubscribe", {"id": "x"}, id=7)
    assert (answer.status, answer["content-type"]) == (200, "text/event-stream")
    (event,) = data(answer)
    assert (event["id"], event["error"]["code"]) == (7, -32001)
    assert still_open(app) == (0, 0)


async def test_a_dropped_stream_is_resumed_after_its_last_event(
    app: Application, stage: Stage
) -> None:
    async with sending(app, "wait") as wire:
        task = await task_of(wire)
        await wire.events(2)
    async with watching(app, task, ("last-event-id", "1")) as wire:
        first = await wire.events(2)
        assert [event.id for event in first[:2]] == ["1", "2"]
        stage.go.set()
        answer = await wire.ended()
    assert [int(event.id) for event in answer.events] == [1, 2, 3, 4]
    assert "TASK_STATE_COMPLETED" in answer.events[-1].data.decode()


async def test_a_finished_task_gives_the_rest_to_who_names_an_event(app: Application) -> None:
    done = await Peer(app).rest("POST", "/message:send", message())
    path = f"/tasks/{done.json['task']['id']}:subscribe"
    refused = await Peer(app).rest("GET", path)
    assert refused.json["error"]["details"][0]["reason"] == "UNSUPPORTED_OPERATION"
    answer = await Peer(app).rest("GET", path, headers=[("last-event-id", "2")])
    assert [event.id for event in answer.events] == ["2", "3", "4"]


@pytest.mark.parametrize("value", ["", "abc", "-1", "9" * 40, "1.5"])
async def test_an_id_that_is_none_of_ours_is_ignored(
    app: Application, stage: Stage, value: str
) -> None:
    async with sending(app, "wait") as wire:
        task = await task_of(wire)
        async with watching(app, task, ("last-event-id", value)) as watcher:
            assert (await watcher.events(1))[0].data.startswith(b'{"task"')
    assert stage.calls[-1].last_event_id is None


async def test_who_hangs_up_lets_go_of_everything_and_stops_nothing(
    app: Application, stage: Stage
) -> None:
    async with sending(app, "wait") as wire:
        task = await task_of(wire)
        assert still_open(app) == (1, 1)
        wire.disconnect()
        await wire.ended()
        assert still_open(app) == (0, 0)
        assert not wire.over, "nothing is written to a client that is gone"
    stage.go.set()
    async with watching(app, task, ("last-event-id", "1")) as wire:
        answer = await wire.ended()
    assert "TASK_STATE_COMPLETED" in answer.events[-1].data.decode()


async def test_nothing_of_the_request_is_kept_while_a_stream_is_open(app: Application) -> None:
    async with sending(app, "wait") as wire:
        await wire.events(1)
        gc.collect()
        assert not [found for found in gc.get_objects() if type(found) is Exchange]


@pytest.mark.parametrize("limits", [RuntimeSettings(heartbeat=0.05)])
async def test_an_idle_stream_says_that_it_lives(app: Application, stage: Stage) -> None:
    async with sending(app, "wait") as wire:
        await wire.events(2)
        await wire.until(lambda: b":\n\n" in wire.chunks)
        stage.go.set()
        answer = await wire.ended()
    assert len(answer.events) == 4, "readers do not see heartbeats"


@pytest.mark.parametrize("http", [HttpSettings(retry=2.5)])
async def test_a_draining_server_tells_streams_to_come_back(app: Application) -> None:
    async with sending(app, "wait") as wire:
        await wire.events(1)
        await app.runtime.drain(0)
        answer = await wire.ended()
    assert answer.body.endswith(b"retry: 2500\n\n")
    assert wire.over


async def test_many_readers_get_every_event_in_order(app: Application, stage: Stage) -> None:
    async with sending(app, "wait") as wire:
        task = await task_of(wire)
        wires: list[Wire] = []
        all_here = anyio.Event()
        async with anyio.create_task_group() as group:

            async def read() -> None:
                async with watching(app, task) as reader:
                    wires.append(reader)
                    if len(wires) == 200:
                        all_here.set()
                    await reader.ended()

            for _ in range(200):
                group.start_soon(read)
            with anyio.fail_after(10):
                await all_here.wait()
                for reader in wires:
                    await reader.events(1)
            stage.go.set()
    for reader in wires:
        ids = [int(event.id) for event in reader.response.events]
        assert ids == list(range(ids[0], 5))
    assert still_open(app) == (0, 0)


async def test_a_thousand_readers_of_whom_ten_never_read(app: Application, stage: Stage) -> None:
    """Nobody waits for those who do not read: not the agent, and not the other readers."""
    good: list[Wire] = []
    stuck: list[Wire] = []
    async with sending(app, "go 50") as wire:
        task = await task_of(wire)
        async with anyio.create_task_group() as group:
            here = anyio.Event()

            async def read(number: int) -> None:
                async with watching(app, task) as reader:
                    await reader.events(1)
                    (good if number >= 10 else stuck).append(reader)
                    reader.reading = number >= 10
                    if len(good) + len(stuck) == 1000:
                        here.set()
                    if reader.reading:
                        await reader.ended()
                    else:
                        await done.wait()

            done = anyio.Event()
            for number in range(1000):
                group.start_soon(read, number)
            with anyio.fail_after(30):
                await here.wait()
                stage.go.set()
                await wire.ended()
                for reader in good:
                    await reader.until(lambda reader=reader: reader.returned)
            assert len(app.open_responses.open) == 10, "only those who do not read are left"
            done.set()
    for reader in good:
        ids = [int(event.id) for event in reader.response.events]
        assert ids == list(range(ids[0], 55)), "every event once and in order, to the end"
        assert reader.response.events[-1].data.find(b"TASK_STATE_COMPLETED") > 0
    assert all(len(reader.response.events) == 1 for reader in stuck)
    assert still_open(app) == (0, 0)


@pytest.mark.parametrize("http", [HttpSettings(write_timeout=0.05)])
async def test_who_takes_nothing_is_dropped_and_disturbs_nobody(
    app: Application, stage: Stage
) -> None:
    async with sending(app, "wait") as good:
        task = await task_of(good)
        async with watching(app, task) as stuck:
            await stuck.events(1)
            stuck.reading = False
            stage.go.set()
            answer = await good.ended()
            assert len(answer.events) == 4
            await stuck.ended()
    assert app.open_responses.dropped == 1
    assert still_open(app) == (0, 0)


@pytest.mark.parametrize("http", [HttpSettings(write_timeout=0.02)])
async def test_an_idle_reader_is_not_taken_for_a_stuck_one(app: Application, stage: Stage) -> None:
    async with sending(app, "wait") as wire:
        await wire.events(2)
        looks = app.open_responses
        writer = next(iter(looks.open))
        for _ in range(5):
            assert not writer.stuck()
        stage.go.set()
        assert len((await wire.ended()).events) == 4
    assert looks.dropped == 0


@pytest.mark.parametrize("http", [HttpSettings(write_timeout=0.05)])
async def test_a_large_answer_does_not_wait_for_ever_either(app: Application) -> None:
    async with opened(
        app, "POST", "/a2a", headers=[JSON, V10], body=rpc("SendMessage", message("large 99999"))
    ) as wire:
        wire.reading = False
        await wire.ended()


# --- what a real runtime seldom does -------------------------------------------------------------


def status(generation: int, state: TaskState = TaskState.WORKING) -> Frame:
    update = TaskStatusUpdateEvent(task_id="t", context_id="c", status=TaskStatus(state=state))
    return Frame(generation, response=StreamResponse(status_update=update))


class Scripted:
    """A stream that hands out what it was given."""

    def __init__(self, *batches: Sequence[Frame] | Exception | str) -> None:
        self.batches = list(batches)
        self.reset = self.retry = self.closed = False

    async def next(self) -> Sequence[Frame] | None:
        if not self.batches:
            return None
        batch = self.batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        if isinstance(batch, str):
            self.reset = True
            return await self.next()
        return batch

    def close(self) -> None:
        self.closed = True


FIRST = Frame(
    1,
    response=StreamResponse(task=Task(id="t", status=TaskStatus(state=TaskState.SUBMITTED))),
)


async def scripted(app: Application, stream: Scripted, send: Any = None) -> Wire:
    """Serve ``stream``; ``send`` replaces the server's."""
    app.runtime.stream = stream  # type: ignore[attr-defined]
    async with sending(app, "x") as opened_wire:
        wire: Wire = opened_wire
        if send is not None:
            wire.send = send  # type: ignore[method-assign]
        await wire.ended()
        assert stream.closed
        return wire


async def test_what_is_ready_together_leaves_in_one_write(app: Application) -> None:
    wire = await scripted(app, Scripted([FIRST], [status(2), status(3), status(4)], ()))
    assert len(wire.response.events) == 4
    assert wire.writes == 4  # the snapshot, three events, a heartbeat, the end


async def test_a_cursor_out_of_range_is_said_once(app: Application) -> None:
    wire = await scripted(app, Scripted("reset", [FIRST], [status(2)]))
    assert b"".join(wire.chunks).startswith(b": the events asked for are no longer kept")
    assert b"".join(wire.chunks).count(b": the events") == 1
    assert len(wire.response.events) == 2


async def test_a_stream_that_breaks_ends_with_advice_and_an_id_only(
    app: Application, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await scripted(app, Scripted([FIRST], ValueError("the secret cause")))
    body = b"".join(wire.chunks)
    assert wire.over
    assert len(wire.response.events) == 1
    assert b"secret" not in body
    record = next(record for record in caplog.records if record.exc_info)
    assert record.error_id.encode() in body  # type: ignore[attr-defined]
    assert body.endswith(b"retry: 1000\n\n")


async def test_an_error_of_the_protocol_in_a_stream_ends_it(app: Application) -> None:
    wire = await scripted(app, Scripted([FIRST], UnavailableError("the store is away")))
    assert wire.over
    assert len(wire.response.events) == 1
    assert b"".join(wire.chunks).endswith(b"retry: 1000\n\n")


async def test_a_server_that_says_so_when_the_client_is_gone(app: Application) -> None:
    """Servers may raise from send: that is a hang-up, not an error of ours."""
    stream = Scripted([FIRST], [status(2)])
    started = False

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal started
        if started:
            raise BrokenPipeError
        started = True

    await scripted(app, stream, send)
    assert started
    assert stream.batches, "reading stopped at once"
