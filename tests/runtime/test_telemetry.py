"""A caller's W3C trace goes through the operation and its handler into spans and log records."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.traced import CALLER, TRACE


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What the traced process prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.traced"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_operation_is_a_child_of_the_callers_span(told: dict[str, Any]) -> None:
    operation = next(span for span in told["spans"] if span["name"] == "a2a.SendMessage")
    assert operation["trace"] == TRACE
    assert operation["parent"] == CALLER
    assert operation["attributes"]["a2a.agent"] == "traced"
    assert operation["attributes"]["a2a.binding"] == "JSONRPC"


def test_the_handler_runs_in_the_callers_trace(told: dict[str, Any]) -> None:
    task = told["answer"]["result"]["task"]
    operation = next(span for span in told["spans"] if span["name"] == "a2a.SendMessage")
    handler = next(span for span in told["spans"] if span["name"] == "handle traced")
    assert handler["parent"] == operation["id"]
    assert handler["attributes"]["a2a.task.id"] == task["id"]
    assert task["artifacts"][0]["parts"] == [{"text": TRACE}]


def test_records_of_a_handler_name_its_task_and_trace(told: dict[str, Any]) -> None:
    task = told["answer"]["result"]["task"]
    line = next(line for line in told["log"] if line["message"] == "at work")
    assert line["task"] == task["id"]
    assert line["trace_id"] == TRACE
    assert line["node"]
    assert line["generation"] >= 1
