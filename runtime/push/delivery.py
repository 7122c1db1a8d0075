"""One turn of a configuration: read what comes next, deliver it, move the cursor.

The order makes it at least once: the cursor is committed after the receiver's answer, and the next
delivery begins after that commit. Whoever dies in between delivers again, under the same id.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence

from msgspec import structs

from ...protocol import webhooks as wire
from ...protocol.webhooks import Secret
from ..journal.entries import PushRow
from ..journal.store import Push
from .payload import Next, Payloads
from .ports import Answer, SealError, Webhooks
from .queue import Key
from .records import (
    Destination,
    Health,
    State,
    bound_to,
    destination_of,
    encode,
    health_of,
)
from .retry import after, closed, outcome
from .saver import Saver

log = logging.getLogger("greenroom.push")

_PASSED = 10_000
"""Cursors of filtered configurations that are remembered, and not written for each event."""


class Deliveries:
    """Carries out turns, and counts what became of them."""

    def __init__(
        self,
        rows: Push,
        payloads: Payloads,
        saver: Saver,
        webhooks: Webhooks,
        now: Callable[[], float],
    ) -> None:
        self._rows = rows
        self._payloads = payloads
        self._saver = saver
        self._webhooks = webhooks
        self._now = now
        self._random = random.Random()
        self._passed: dict[Key, int] = {}
        self.later: Callable[[float], object] = bool
        """Called with the time of each attempt that is to be made later."""
        self.outcomes: dict[str, int] = dict.fromkeys(
            ("ok", "gone", "refused", "failed", "unreachable"), 0
        )
        self.dead_letters = 0

    async def step(self, key: Key) -> bool:
        """Deliver what comes next; whether there may be more to deliver now. Raises StoreError."""
        row = await self._rows.push(key.scope, key.task_id, key.id)
        now = self._now()
        if row is None or not row.open or (row.due_at is not None and row.due_at > now):
            return False
        health = health_of(row)
        try:
            to = destination_of(self._webhooks.vault.unseal(row.config, bound_to(row)))
        except SealError as error:
            log.error("push configuration %s of task %s: %s", row.id, row.task_id, error)
            await self._saver.save(
                closed(row, structs.replace(health, state=State.DISABLED, why=str(error)))
            )
            return False
        begin = max(row.generation, self._passed.get(key, 0))
        coming = await self._payloads.next(row, to, health, begin)
        if coming is None:
            return False
        if not coming.body:
            return await self._pass(key, row, health, begin, coming)
        if coming.merged and health.planned != coming.generation:
            health = structs.replace(health, planned=coming.generation)
            row = structs.replace(row, health=encode(health))
            if not await self._saver.save(row):
                return True
            row = structs.replace(row, revision=row.revision + 1)
        answer = await self._attempt(row, to, health, coming)
        return await self._settle(key, row, coming, answer)

    async def _pass(self, key: Key, row: PushRow, health: Health, begin: int, coming: Next) -> bool:
        """Nothing of what there is is to be delivered: remember how far that holds."""
        if coming.last:
            done = closed(row, structs.replace(health, state=State.DONE, planned=0))
            await self._saver.save(structs.replace(done, generation=coming.generation))
            self._passed.pop(key, None)
            return False
        if row.due_at is not None:
            await self._saver.save(structs.replace(row, generation=coming.generation, due_at=None))
        elif coming.generation > begin:
            if len(self._passed) >= _PASSED:
                self._passed.clear()
            self._passed[key] = coming.generation
        return coming.generation > begin

    async def _attempt(self, row: PushRow, to: Destination, health: Health, coming: Next) -> Answer:
        now = self._now()
        headers = {
            "Content-Type": coming.content_type,
            wire.DELIVERY: f"attempt={health.attempts + 1}; generation={coming.generation}",
            **self._signatures(row, to, coming, int(now)),
        }
        if to.scheme and not to.secret:
            headers["Authorization"] = f"{to.scheme} {to.credentials}".strip()
        if to.token:
            headers[wire.TOKEN] = to.token
        if to.traceparent:
            headers["traceparent"] = to.traceparent
        return await self._webhooks.deliverer.deliver(to.url, headers, coming.body, now=now)

    def _signatures(self, row: PushRow, to: Destination, coming: Next, now: int) -> dict[str, str]:
        form = self._webhooks.settings.signature
        secrets = self._secrets(row, to)
        standard = form in ("both", "standard")
        headers = wire.standard_headers(
            coming.id,
            now,
            coming.body,
            secrets if standard else (),
            self._webhooks.keys if standard else (),
        )
        if secrets and form in ("both", "amp"):
            headers |= wire.amp_headers(now, coming.body, secrets[0])
        return headers

    def _secrets(self, row: PushRow, to: Destination) -> Sequence[Secret]:
        """That of the configuration, else those of the agent: the newest is the first."""
        if to.secret:
            return (Secret(to.secret),)
        secrets = self._webhooks.secrets
        return secrets.get(row.scope.agent, secrets.get("*", ()))

    async def _settle(self, key: Key, row: PushRow, coming: Next, answer: Answer) -> bool:
        """Write down what became of an attempt."""
        result = outcome(answer)
        self.outcomes[result] += 1
        chance = self._random.uniform(-1, 1)
        moved = after(
            row,
            coming.generation,
            coming.last,
            answer,
            self._webhooks.settings,
            self._now(),
            chance,
        )
        saved = await self._saver.save(moved)
        if saved:
            self._tell(row, moved, result)
            if moved.due_at is not None:
                self.later(moved.due_at)
        self._passed.pop(key, None)
        # What was changed meanwhile is looked at again: it may be somewhere else now.
        return moved.open and moved.due_at is None if saved else True

    def _tell(self, row: PushRow, moved: PushRow, result: str) -> None:
        old, new = health_of(row), health_of(moved)
        self.dead_letters += new.dead_letters - old.dead_letters
        if old.state is new.state or new.state in (State.ACTIVE, State.DONE):
            if old.state in (State.FAILING, State.DEAD) and result == "ok":
                log.info("push configuration %s at %s is well again", row.id, new.origin)
            return
        log.warning(
            "push configuration %s of task %s is %s: %s answered %s",
            row.id, row.task_id, new.state, new.origin, new.why,
            extra={"event": f"push_{new.state}", "task": row.task_id},
        )  # fmt: skip
