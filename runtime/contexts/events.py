"""What happens to contexts, as listeners hear of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from ..call import TaskScope
from ..journal.entries import Context

ContextEventKind = Literal["created", "completed", "idle", "expired", "pruned"]


class ContextEvent(Struct, frozen=True):
    """Something that happened to a context.

    - ``created``: its first task began;
    - ``completed``: none of its tasks is live any more; it may come again;
    - ``idle``: nothing happened in it for ``context_idle``; it may come again;
    - ``expired``: it was kept for ``context_retention``; ``pruned`` follows;
    - ``pruned``: nothing is left of it, whatever it went by. ``context`` is as it was before.
    """

    kind: ContextEventKind
    scope: TaskScope
    context: Context
    at: float
    """When it was noticed."""


Listener = Callable[[ContextEvent], None]
