"""The application over a real runtime and a memory store; tests override its settings."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from greenroom.runtime.settings.settings import RuntimeSettings
from greenroom.transports.http.asgi import Application
from greenroom.transports.http.settings import HttpSettings
from tests.support.agents import Stage, WatchedRuntime
from tests.support.servers import in_memory


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def http() -> HttpSettings:
    """Settings of the application: tests override this with ``parametrize``."""
    return HttpSettings()


@pytest.fixture
def public_url() -> str | None:
    """Where cards say the application is: tests override this with ``parametrize``."""
    return None


@pytest.fixture
def limits() -> RuntimeSettings:
    """Settings of the runtime: tests override this with ``parametrize``."""
    return RuntimeSettings()


@pytest.fixture
async def app(
    stage: Stage, http: HttpSettings, limits: RuntimeSettings, public_url: str | None
) -> AsyncIterator[Application]:
    async with in_memory(
        runtime=WatchedRuntime(stage, [stage.agent, stage.other], settings=limits),
        http=http,
        public_url=public_url,
    ) as server:
        yield server.app
        stage.go.set()
