"""The pytest plugin of Greenroom: a client of your agents, in virtual time.

    pytestmark = [pytest.mark.anyio, pytest.mark.greenroom(agent)]

    async def test_books(greenroom_client: LocalClient) -> None:
        task = await greenroom_client.send("Lisbon")

The marker ``greenroom`` takes the agents, and by name what ``greenroom.testing.served`` takes:
``principal``, ``security``, ``settings``, ``raise_errors``, and so on. Tests with the marker run in
virtual time; ``virtual=False`` lets the fixture ``anyio_backend`` decide, as without the marker.

pytest imports this module in every session of an environment in which Greenroom is installed. So
the module is not part of the package, and imports nothing of it before a test asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from greenroom.testing import LocalClient

_MARKER = (
    "greenroom(*agents, virtual=True, **options): serve the agents to the fixture "
    "greenroom_client, with the options of greenroom.testing.served"
)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


@pytest.hookimpl(tryfirst=True)  # before pytest gives the fixture its own parameters
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what has the marker in virtual time."""
    marker = metafunc.definition.get_closest_marker("greenroom")
    if marker is None or not marker.kwargs.get("virtual", True):
        return
    if "anyio_backend" in metafunc.fixturenames:
        from greenroom.testing import virtual_time

        backend = pytest.mark.parametrize(
            "anyio_backend", [virtual_time()], ids=["virtual"], scope="module"
        )
        metafunc.definition.add_marker(backend)


@pytest.fixture
async def greenroom_client(request: pytest.FixtureRequest) -> AsyncGenerator[LocalClient, None]:
    """A client of the first agent that the marker ``greenroom`` names."""
    marker = request.node.get_closest_marker("greenroom")
    if marker is None or not marker.args:
        pytest.fail(
            "greenroom_client needs to know what to serve: mark the test or its module with "
            "@pytest.mark.greenroom(agent)",
            pytrace=False,
        )
    from greenroom.testing import served

    options: dict[str, Any] = {**marker.kwargs}
    options.pop("virtual", None)
    async with served(*marker.args, **options) as client:
        yield client
