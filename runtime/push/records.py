"""What the row of a configuration holds: where to deliver, and how it went."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec
from msgspec import Struct

from ..journal.entries import PushRow

EventFilter = Literal["all", "status", "terminal"]
MASK = "***"
"""What a reader sees of a secret; written back, it stands for the secret that is there."""
DEAD_LETTERS = 20
"""Dead letters that are remembered of one configuration."""


class Destination(Struct, frozen=True, omit_defaults=True):
    """Where the events go, and what goes with them. Encrypted in the store."""

    url: str
    token: str = ""
    scheme: str = ""
    """Of ``Authorization``."""
    credentials: str = ""
    version: str = "1.0"
    """The protocol version of whoever registered it, which is that of the bodies."""
    events: EventFilter = "all"
    traceparent: str = ""

    @property
    def secret(self) -> str:
        """The secret that the client brought for signatures (scheme HMAC-SHA256), else nothing."""
        return self.credentials if self.scheme.upper() == "HMAC-SHA256" else ""


class State(StrEnum):
    """How a configuration is."""

    ACTIVE = "active"
    FAILING = "failing"
    """The last attempt failed; it is tried again."""
    DEAD = "dead"
    """It only failed for a day; it is tried rarely."""
    DISABLED = "disabled"
    """It is not tried any more, unless somebody enables it or registers it anew."""
    DONE = "done"
    """Its task is over, and all was delivered."""


class DeadLetter(Struct, frozen=True, array_like=True):
    """A delivery that was given up."""

    generation: int
    at: float
    why: str


class Attempt(Struct, frozen=True, array_like=True):
    """One attempt, as operators see it."""

    at: float
    generation: int
    number: int
    outcome: str


class Health(Struct, frozen=True, omit_defaults=True):
    """How deliveries of a configuration went. Not secret."""

    origin: str = ""
    """Scheme, host and port of the address."""
    state: State = State.ACTIVE
    why: str = ""
    """What the last failure was."""
    attempts: int = 0
    """Failed attempts of the delivery that is next."""
    refusals: int = 0
    """Those of them that no later attempt can change."""
    failing_since: float = 0.0
    planned: int = 0
    """The last generation of a merged delivery that was begun: a repeat must be the same."""
    snapshot: bool = False
    """The first delivery is the task as it is."""
    delivered: int = 0
    failed: int = 0
    delivered_at: float = 0.0
    dead: tuple[DeadLetter, ...] = ()
    dead_letters: int = 0
    log: tuple[Attempt, ...] = ()
    """The newest attempts."""


_encode = msgspec.json.Encoder().encode
_destination = msgspec.json.Decoder(Destination).decode
_health = msgspec.json.Decoder(Health).decode


def encode(value: Destination | Health) -> bytes:
    return _encode(value)


def destination_of(plain: bytes) -> Destination:
    return _destination(plain)


def health_of(row: PushRow) -> Health:
    return _health(row.health)


def bound_to(row: PushRow) -> bytes:
    """What the encrypted destination of a row belongs to."""
    return _encode((*row.scope, row.task_id, row.id))
