"""Extensions: required ones must be declared, unknown ones are ignored (sections 3.3.4, 4.6)."""

from __future__ import annotations

import pytest

from tests.support.agents import EXTENSION

from .conftest import Served, said, state
from .dialects import Dialect
from .errors import refused

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("operation", ["SendMessage", "SendStreamingMessage"])
async def test_a_required_extension_that_is_not_declared(
    served: Served, dialect: Dialect, operation: str
) -> None:
    strict = "/a2a/agents/strict"
    answer = await dialect.call(served.app, operation, said(), at=strict)
    refused(dialect, answer, "ExtensionSupportRequired")
    # Another version of it is another extension (4.6.3).
    other = [("a2a-extensions", EXTENSION.replace("v1", "v2"))]
    answer = await dialect.call(served.app, operation, said(), at=strict, headers=other)
    refused(dialect, answer, "ExtensionSupportRequired")
    declared = [("a2a-extensions", EXTENSION)]
    answer = await dialect.call(served.app, operation, said(), at=strict, headers=declared)
    assert answer.fault is None


async def test_an_unknown_optional_extension_is_ignored(served: Served, dialect: Dialect) -> None:
    headers = [("a2a-extensions", "https://example.com/extensions/none/v9")]
    answer = await dialect.call(served.app, "SendMessage", said(), headers=headers)
    assert state(answer.task) == "COMPLETED"
    assert answer.response.get("a2a-extensions") is None
