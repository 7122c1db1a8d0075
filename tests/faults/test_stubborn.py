"""A handler that ignores its cancellation is left behind: the server stops all the same."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.servers import as_process

AGENT = f"{Path(__file__).with_name('harmful.py')}:agent"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("deadline", ["2", "60"])
def test_a_server_with_a_stubborn_handler_saves_everything_and_exits_with_0(
    loop: str, deadline: str, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/tasks.db"
    arguments = (
        "--store", store, "--set", f"loop={loop}", "--grace", "0.1", "--deadline", deadline,
        "--set", "runtime.cancel_grace=0.1",
    )  # fmt: skip
    with as_process(*arguments, agents=(AGENT,)) as server:
        stubborn = server.stream("swallow")
        for event in stubborn:
            if "statusUpdate" in event and "message" in event["statusUpdate"]["status"]:
                break
        task = stubborn.results[0]["task"]["id"]
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 20
    lines = [json.loads(line) for line in server.log.splitlines()]
    [left] = [line["message"] for line in lines if "ignored its cancellation" in line["message"]]
    assert task in left
    assert "harm" in left
    with as_process("--store", store, agents=(AGENT,)) as server:
        state = ""
        while state != "TASK_STATE_FAILED":  # it had no step: nobody runs it again
            state = server.rpc("GetTask", {"id": task})["result"]["status"]["state"]
            assert state in ("TASK_STATE_WORKING", "TASK_STATE_FAILED")
        assert server.send("hello")["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
