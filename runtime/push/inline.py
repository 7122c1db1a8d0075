"""A push configuration inside a send: it is committed with the message, or not at all."""

from __future__ import annotations

from collections.abc import Callable

from ...protocol.types import TaskPushNotificationConfig
from ..call import Call, TaskScope
from ..journal.entries import PushRow
from .configurations import Asked, Configurations


class InlinePush:
    """What the operations that send need to know of push."""

    def __init__(self, configurations: Configurations, watch: Callable[[str], object]) -> None:
        self._configurations = configurations
        self._watch = watch

    async def check(
        self, call: Call, scope: TaskScope, task_id: str | None, config: TaskPushNotificationConfig
    ) -> Callable[[TaskScope, str, int], PushRow]:
        """Check a configuration; return what makes its row, once its task and the generation that
        the message is accepted after are known. Raises A2AError."""
        asked = await self._configurations.check(call, config)
        if task_id:
            asked = await self._configurations.check_known(scope, task_id, asked)
        return lambda scope, task_id, after: self._row(asked, scope, task_id, after)

    def _row(self, asked: Asked, scope: TaskScope, task_id: str, after: int) -> PushRow:
        self._watch(task_id)
        return self._configurations.row(asked, scope, task_id, after)
