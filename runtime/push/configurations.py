"""The operations on push configurations (sections 3.1.7 to 3.1.10), and those inside a send.

Secrets go in and never come out: readers see ``***`` in their place, which stands for the secret
that is there when it is written back. It does so for the same origin only: whoever may change a
configuration could else send its secrets to a server of their own.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from msgspec import Struct, structs

from ...protocol.errors import (
    InvalidParamsError,
    ResourceExhaustedError,
    TaskNotFoundError,
)
from ...protocol.types import (
    AuthenticationInfo,
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    TaskPushNotificationConfig,
)
from ...protocol.version import V03
from ..agent import Agent
from ..call import Call, TaskScope
from ..journal.entries import Header, PushLimits, PushRow
from ..journal.store import Push, Tasks
from .ports import SealError, WebhookRefusedError, Webhooks
from .records import (
    MASK,
    Destination,
    EventFilter,
    Health,
    bound_to,
    destination_of,
    encode,
    health_of,
)

log = logging.getLogger("greenroom.push")

EXTENSION = "urn:greenroom:push:"
"""Extensions that a caller may name with a configuration: this and one of ``status`` or
``terminal`` (which events it wants), or ``snapshot`` (the task as it is comes first)."""
_FILTERS: tuple[EventFilter, ...] = ("status", "terminal")
_URL_LENGTH = 2048
_SECRET_LENGTH = 8192
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff]*")


class Asked(Struct, frozen=True):
    """A configuration that was checked, before the task that it is for is known."""

    id: str
    """Empty: that of the task, as a client of 0.3 means who names none."""
    to: Destination
    snapshot: bool = False


class Configurations:
    """The doors of the four operations."""

    def __init__(
        self, rows: Push, tasks: Tasks, webhooks: Webhooks, now: Callable[[], float]
    ) -> None:
        self._rows = rows
        self._tasks = tasks
        self._webhooks = webhooks
        self._now = now
        settings = webhooks.settings
        self._limits = PushLimits(settings.per_task, settings.per_owner)
        self.changed: Callable[[PushRow], object] = bool
        """Called with each configuration that was made or changed …"""
        self.deleted: Callable[[PushRow], object] = bool
        """… or deleted."""

    # --- the operations -------------------------------------------------------------------------

    async def create(
        self, call: Call, agent: Agent, scope: TaskScope, request: TaskPushNotificationConfig
    ) -> TaskPushNotificationConfig:
        """Make a configuration, or change the one with its id."""
        header = await self._header(scope, request.task_id or "")
        asked = await self.check(call, request)
        known = await self._rows.push(scope, header.id, asked.id or header.id)
        if known is not None:
            asked = self._unmasked(asked, known)
        row = self.row(asked, scope, header.id, header.generation)
        if header.state.terminal and not asked.snapshot and known is None:
            row = structs.replace(row, open=False)
        self.changed(row)  # before it is there, or an event in between would wake nobody
        kept = await self._rows.put_push(row, limits=self._limits)
        if kept is None:
            raise self._too_many()
        self.changed(kept)
        return self._shown(kept, asked.to)

    async def get(
        self,
        call: Call,
        agent: Agent,
        scope: TaskScope,
        request: GetTaskPushNotificationConfigRequest,
    ) -> TaskPushNotificationConfig:
        """Read a configuration; without an id, which 0.3 may leave out, the first of the task."""
        if request.id:
            row = await self._rows.push(scope, request.task_id, request.id)
        else:
            row = next(iter(await self._rows.pushes(scope, request.task_id)), None)
        if row is None:
            raise TaskNotFoundError(
                "The task has no such push notification configuration", taskId=request.task_id
            )
        return self._shown(row, self._destination(row))

    async def list(
        self,
        call: Call,
        agent: Agent,
        scope: TaskScope,
        request: ListTaskPushNotificationConfigsRequest,
    ) -> ListTaskPushNotificationConfigsResponse:
        await self._header(scope, request.task_id)
        rows = await self._rows.pushes(scope, request.task_id)
        if request.page_token:
            rows = _behind(rows, request.page_token)
        size = request.page_size or len(rows)
        shown = [self._shown(row, self._destination(row)) for row in rows[:size]]
        token = rows[size - 1].id if size < len(rows) else None
        return ListTaskPushNotificationConfigsResponse(configs=shown, next_page_token=token)

    async def delete(
        self,
        call: Call,
        agent: Agent,
        scope: TaskScope,
        request: DeleteTaskPushNotificationConfigRequest,
    ) -> None:
        """Delete a configuration; one that is not there counts as deleted."""
        await self._header(scope, request.task_id)
        row = await self._rows.push(scope, request.task_id, request.id)
        if row is not None and await self._rows.delete_push(scope, request.task_id, request.id):
            self.deleted(row)

    # --- inside a send --------------------------------------------------------------------------

    async def check(self, call: Call, config: TaskPushNotificationConfig) -> Asked:
        """Return what a configuration asks for. Raises InvalidParamsError."""
        to = _destination(call, config)
        try:
            await self._webhooks.deliverer.check(to.url)
        except WebhookRefusedError as error:
            raise InvalidParamsError(str(error), field="url") from None
        unnamed = "" if call.version == V03 else str(uuid4())
        return Asked(config.id or unnamed, to, f"{EXTENSION}snapshot" in call.extensions)

    async def check_known(self, scope: TaskScope, task_id: str, asked: Asked) -> Asked:
        """Return what a configuration of a task that is there asks for, its secrets filled in.

        Raises ResourceExhaustedError where the task can have no further configuration, and
        InvalidParamsError where ``***`` stands for a secret of another origin.
        """
        rows = await self._rows.pushes(scope, task_id)
        known = next((row for row in rows if row.id == (asked.id or task_id)), None)
        if known is not None:
            return self._unmasked(asked, known)
        if len(rows) >= self._limits.per_task:
            raise self._too_many()
        return asked

    def row(self, asked: Asked, scope: TaskScope, task_id: str, generation: int) -> PushRow:
        """Return the row of a configuration that is told what comes after ``generation``."""
        now = self._now()
        health = Health(origin=_origin(asked.to.url), snapshot=asked.snapshot)
        row = PushRow(
            scope, task_id, asked.id or task_id, now, b"", encode(health), generation,
            due_at=now if asked.snapshot else None,
        )  # fmt: skip
        sealed = self._webhooks.vault.seal(encode(asked.to), bound_to(row))
        return structs.replace(row, config=sealed)

    # --- parts ----------------------------------------------------------------------------------

    async def _header(self, scope: TaskScope, task_id: str) -> Header:
        header = await self._tasks.header(scope, task_id)
        if header is None:
            raise TaskNotFoundError(taskId=task_id)
        return header

    def _destination(self, row: PushRow) -> Destination:
        """Return where a row delivers to; empty where the key ring lost its key."""
        try:
            return destination_of(self._webhooks.vault.unseal(row.config, bound_to(row)))
        except SealError as error:
            log.error("push configuration %s of task %s: %s", row.id, row.task_id, error)
            return Destination(health_of(row).origin)

    def _unmasked(self, asked: Asked, known: PushRow) -> Asked:
        """Put the secrets of the configuration that is there in the place of ``***``."""
        to = asked.to
        if MASK not in (to.token, to.credentials):
            return asked
        old = self._destination(known)
        if _origin(old.url) != _origin(to.url):
            raise InvalidParamsError(
                f"{MASK} keeps a secret only where scheme, host and port of the url stay as they "
                "are; write the secret itself for another address",
                field="url",
            )
        token = old.token if to.token == MASK else to.token
        credentials = old.credentials if to.credentials == MASK else to.credentials
        return structs.replace(asked, to=structs.replace(to, token=token, credentials=credentials))

    def _too_many(self) -> ResourceExhaustedError:
        limits = self._limits
        return ResourceExhaustedError(
            f"There may be {limits.per_task} push notification configurations of a task and "
            f"{limits.per_owner} of yours in all; delete one first"
        )

    @staticmethod
    def _shown(row: PushRow, to: Destination) -> TaskPushNotificationConfig:
        authentication = None
        if to.scheme:
            masked = MASK if to.credentials else None
            authentication = AuthenticationInfo(scheme=to.scheme, credentials=masked)
        return TaskPushNotificationConfig(
            url=to.url,
            id=row.id,
            task_id=row.task_id,
            token=MASK if to.token else None,
            authentication=authentication,
        )


def _destination(call: Call, config: TaskPushNotificationConfig) -> Destination:
    authentication = config.authentication
    scheme = authentication.scheme if authentication is not None else ""
    credentials = (authentication.credentials if authentication is not None else None) or ""
    _check_text("url", config.url, _URL_LENGTH, _VALUE)
    _check_text("token", config.token or "", _SECRET_LENGTH, _VALUE)
    _check_text("authentication.credentials", credentials, _SECRET_LENGTH, _VALUE)
    if scheme:
        _check_text("authentication.scheme", scheme, 64, _TOKEN)
    return Destination(
        config.url,
        config.token or "",
        scheme,
        credentials,
        call.version,
        _wanted(call.extensions),
        call.traceparent or "",
    )


def _wanted(extensions: Sequence[str]) -> EventFilter:
    for events in _FILTERS:
        if EXTENSION + events in extensions:
            return events
    return "all"


def _check_text(field: str, text: str, most: int, allowed: re.Pattern[str]) -> None:
    if len(text) > most:
        raise InvalidParamsError(f"{field} may have {most} characters", field=field)
    if not allowed.fullmatch(text):
        raise InvalidParamsError(f"{field} has characters that no HTTP header has", field=field)


def _origin(url: str) -> str:
    """Return scheme, host and port as they are written: no more of a URL is shown to operators."""
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme.lower()}://{host.lower()}"


def _behind(rows: Sequence[PushRow], token: str) -> Sequence[PushRow]:
    places: dict[Any, int] = {row.id: at for at, row in enumerate(rows)}
    if token not in places:
        raise InvalidParamsError(
            "pageToken is not one that this server gave; start again without it", field="pageToken"
        )
    return rows[places[token] + 1 :]
