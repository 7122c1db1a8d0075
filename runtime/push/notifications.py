"""Push notifications of one runtime, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..journal.store import Journal, Push, Tasks
from .configurations import Configurations
from .delivery import Deliveries
from .dispatcher import Dispatcher
from .inline import InlinePush
from .payload import Payloads
from .ports import Webhooks
from .saver import Saver


class PushNotifications:
    """The operations, and the child that delivers."""

    def __init__(
        self,
        webhooks: Webhooks,
        rows: Push,
        journal: Journal,
        tasks: Tasks,
        now: Callable[[], float],
        *,
        agents: Sequence[str],
        sweep_every: float,
    ) -> None:
        self._webhooks = webhooks
        self._now = now
        self.configurations = Configurations(rows, tasks, webhooks, now)
        saver = Saver(rows)
        payloads = Payloads(journal, tasks, merge=webhooks.settings.merge)
        self._deliveries = Deliveries(rows, payloads, saver, webhooks, now)
        self.dispatcher = Dispatcher(
            rows,
            self._deliveries,
            saver,
            webhooks,
            now,
            agents=agents,
            sweep_every=sweep_every,
        )
        self.configurations.changed = self.dispatcher.changed
        self.configurations.deleted = self.dispatcher.deleted

    @property
    def inline(self) -> InlinePush:
        """For the operations that send."""
        return InlinePush(self.configurations, self.dispatcher.watch)

    async def close(self) -> None:
        await self._webhooks.deliverer.close()

    async def drain(self, grace: float) -> None:
        """End what is under way, within ``grace`` seconds."""
        await self.dispatcher.drain(min(grace, self._webhooks.settings.drain))

    def statistics(self) -> dict[str, int]:
        """Counters for metrics."""
        dispatcher, deliveries = self.dispatcher, self._deliveries
        oldest = dispatcher.oldest
        return {
            **{f"push_attempts_{name}_total": count for name, count in deliveries.outcomes.items()},
            "push_dead_letters_total": deliveries.dead_letters,
            "push_configurations_open": dispatcher.open,
            "push_configurations_behind": dispatcher.behind,
            "push_lag_seconds": 0 if oldest is None else max(0, int(self._now() - oldest)),
        }
