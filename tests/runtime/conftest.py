"""Everything here runs on both event loops, in virtual time unless a module says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.clock import real_backend, virtual_backend

__all__ = ["real_backend", "virtual_backend"]


@pytest.fixture
def anyio_backend(
    virtual_backend: tuple[str, Mapping[str, Any]],
) -> tuple[str, Mapping[str, Any]]:
    return virtual_backend
