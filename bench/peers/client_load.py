# mypy: ignore-errors
"""One client process under measurement: makes calls one after the other, prints CPU time spent.

`python -m bench.peers.client_load sdk|greenroom URL run|stream COUNT` prints
`{"cpu": seconds, "calls": …, "events": …}`: of the calls alone, after some that warm up.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

WARM_UP = 20


async def sdk(url, count):
    import httpx
    from a2a.client import ClientConfig, create_client
    from a2a.helpers import new_text_message
    from a2a.types import Role, SendMessageRequest, TaskState

    done = TaskState.TASK_STATE_COMPLETED
    async with httpx.AsyncClient(timeout=None) as http:
        client = await create_client(url, ClientConfig(httpx_client=http))

        async def call():
            message = new_text_message("hello", role=Role.ROLE_USER)
            events, state = 0, None
            async for event in client.send_message(SendMessageRequest(message=message)):
                events += 1
                if event.HasField("task"):
                    state = event.task.status.state
                elif event.HasField("status_update"):
                    state = event.status_update.status.state
            assert state == done, state
            return events

        return await measured(call, count)


async def greenroom_run(url, count):
    from greenroom import Client, TaskState

    async with Client(url) as agent:

        async def call():
            events = 0

            def counted(event):
                nonlocal events
                events += 1

            task = await agent.run("hello", on_event=counted)
            assert task.status.state is TaskState.COMPLETED
            return events

        return await measured(call, count)


async def greenroom_stream(url, count):
    from greenroom import Client

    async with Client(url) as agent:

        async def call():
            return len([event async for event in agent.stream("hello")])

        return await measured(call, count)


async def measured(call, count):
    for _ in range(WARM_UP):
        await call()
    gc.collect()
    gc.freeze()
    before, events = time.process_time(), 0
    for _ in range(count):
        events += await call()
    return {"cpu": time.process_time() - before, "calls": count, "events": events}


if __name__ == "__main__":
    who, url, way, count = sys.argv[1:]
    clients = {
        ("sdk", "run"): sdk,
        ("sdk", "stream"): sdk,
        ("greenroom", "run"): greenroom_run,
        ("greenroom", "stream"): greenroom_stream,
    }
    print(json.dumps(asyncio.run(clients[who, way](url, int(count)))))
