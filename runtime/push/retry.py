"""What an attempt makes of a configuration: the rules of failure, without a clock and without IO.

* 2xx: delivered. Whatever failed before is forgotten.
* 410: the receiver is gone; the configuration is disabled.
* No answer, 3xx, 5xx, 401, 403, 408, 409, 425, 429: tried again. The delay doubles, with some
  chance in it; a ``Retry-After`` may make it longer. What only failed for a day is *dead*: it is
  marked, and tried every few hours. After five days it is *disabled*.
* Every other 4xx: a few attempts. Then the delivery is a *dead letter*, and the next one is tried.
"""

from __future__ import annotations

from msgspec import structs

from ..journal.entries import PushRow
from ..settings.push import PushSettings
from .ports import Answer
from .records import DEAD_LETTERS, Attempt, DeadLetter, Health, State, encode, health_of

_CHANGEABLE = frozenset({401, 403, 408, 409, 425, 429})
_LOG = 10
"""Attempts that a row remembers."""
_DOUBLINGS = 30


def outcome(answer: Answer) -> str:
    """One word for the metrics: ``ok``, ``gone``, ``refused``, ``failed`` or ``unreachable``."""
    status = answer.status
    if 200 <= status < 300:
        return "ok"
    if status == 410:
        return "gone"
    if 400 <= status < 500 and status not in _CHANGEABLE:
        return "refused"
    return "failed" if status else "unreachable"


def after(
    row: PushRow,
    generation: int,
    last: bool,
    answer: Answer,
    settings: PushSettings,
    now: float,
    chance: float,
) -> PushRow:
    """Return ``row`` as it is after an attempt to deliver what ends with ``generation``.

    ``last``: nothing follows it. ``chance`` is a number from -1 to 1.
    """
    health = health_of(row)
    result = outcome(answer)
    told = str(answer.status) if answer.status else answer.error or "no answer"
    attempt = Attempt(now, generation, health.attempts + 1, told)
    health = structs.replace(health, log=(*health.log, attempt)[-_LOG:])
    if result == "ok":
        return _delivered(row, health, generation, last, now)
    health = structs.replace(
        health,
        state=State.FAILING,
        why=told,
        attempts=health.attempts + 1,
        refusals=health.refusals + (result == "refused"),
        failed=health.failed + 1,
        failing_since=health.failing_since or now,
    )
    if result == "gone":
        return closed(row, structs.replace(health, state=State.DISABLED))
    if health.refusals >= settings.refusals:
        return _dead_letter(row, health, generation, last, now)
    return _again(row, health, answer, settings, now, chance)


def closed(row: PushRow, health: Health) -> PushRow:
    """Return ``row`` as one of which nothing more is delivered."""
    return structs.replace(row, open=False, due_at=None, health=encode(health))


def _delivered(row: PushRow, health: Health, generation: int, last: bool, now: float) -> PushRow:
    health = structs.replace(
        _fresh(health),
        state=State.DONE if last else State.ACTIVE,
        why="",
        failing_since=0.0,
        delivered=health.delivered + 1,
        delivered_at=now,
    )
    return _moved(row, health, generation, last)


def _dead_letter(row: PushRow, health: Health, generation: int, last: bool, now: float) -> PushRow:
    letter = DeadLetter(generation, now, health.why)
    health = structs.replace(
        _fresh(health),
        state=State.DONE if last else State.FAILING,
        dead=(*health.dead, letter)[-DEAD_LETTERS:],
        dead_letters=health.dead_letters + 1,
    )
    return _moved(row, health, generation, last)


def _fresh(health: Health) -> Health:
    """Forget what is known of the delivery that was next."""
    return structs.replace(health, attempts=0, refusals=0, planned=0, snapshot=False)


def _moved(row: PushRow, health: Health, generation: int, last: bool) -> PushRow:
    return structs.replace(
        row, generation=generation, due_at=None, open=not last, health=encode(health)
    )


def _again(
    row: PushRow,
    health: Health,
    answer: Answer,
    settings: PushSettings,
    now: float,
    chance: float,
) -> PushRow:
    lasted = now - health.failing_since
    if lasted >= settings.disable_after:
        return closed(row, structs.replace(health, state=State.DISABLED))
    if lasted >= settings.dead_after:
        health = structs.replace(health, state=State.DEAD)
        delay = settings.dead_delay
    else:
        doubled = settings.first_delay * 2 ** min(health.attempts - 1, _DOUBLINGS)
        delay = min(doubled, settings.max_delay)
    delay *= 1 + settings.jitter * chance
    if answer.retry_after is not None:
        delay = max(delay, min(answer.retry_after, settings.max_delay))
    return structs.replace(row, due_at=now + delay, health=encode(health))
