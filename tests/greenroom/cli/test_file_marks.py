"""The mark of a file is one line, whatever name the remote agent gave the file."""

from __future__ import annotations

import pytest

from greenroom.cli.remote.render import Output
from greenroom.cli.send import Screen
from greenroom.protocol.types import Artifact, Part, Task, TaskState, TaskStatus

NAME = "a\nFORGED LINE\r\x1b[2J\u202e"


def task_of(part: Part) -> Task:
    artifact = Artifact(artifact_id="a", parts=[part])
    status = TaskStatus(state=TaskState.COMPLETED)
    return Task(id="t", context_id="c", status=status, artifacts=[artifact])


PARTS = pytest.mark.parametrize(
    "part",
    [
        Part(raw=b"x", filename=NAME, media_type=NAME),
        Part(url="https://x.test/" + NAME, filename=NAME, media_type=NAME),
    ],
    ids=["bytes", "address"],
)


@PARTS
def test_send_shows_it_so(part: Part, capsys: pytest.CaptureFixture[str]) -> None:
    Screen("http://x.test").show_task(task_of(part))
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one]
    assert line.startswith("<file a")
    assert line.isprintable()


@PARTS
def test_the_commands_for_agents_elsewhere_show_it_so(
    part: Part, capsys: pytest.CaptureFixture[str]
) -> None:
    Output(json=False).task(task_of(part))
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("[a")]
    assert not [line for line in lines if line.startswith("FORGED")]
