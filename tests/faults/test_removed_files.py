"""A file of the database that is removed under a live server: nothing is acknowledged any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.servers import as_process


@pytest.mark.parametrize("how", ["removed", "replaced"])
@pytest.mark.parametrize("name", ["", "-wal", "-shm"])
def test_nothing_is_acknowledged_without_the_file(name: str, how: str, tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    store = ("--store", f"sqlite:///{path}")
    with as_process(*store) as server:
        before = server.send("echo before")["task"]["id"]
        file = Path(f"{path}{name}")
        assert file.exists()
        content = file.read_bytes()
        file.unlink()
        if how == "replaced":
            file.write_bytes(content)
        for _ in range(3):
            answer = server.rpc("SendMessage", echo())
            assert "error" in answer, "it was acknowledged, and a crash would lose it"
        status, _ = server.get("/ready")
        assert status == 503
        assert server.get("/health")[0] == 200
        assert server.stop() == 0
    assert f"tasks.db{name} was removed or replaced" in server.log
    if name and how == "removed":
        with as_process(*store) as server:  # the stop in order saved what it had acknowledged
            task = server.rpc("GetTask", {"id": before})["result"]
            assert task["status"]["state"] == "TASK_STATE_COMPLETED"


def echo() -> dict[str, object]:
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "echo after"}]}
    return {"message": message}
