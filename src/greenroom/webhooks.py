"""For those who receive webhooks of an A2A server: verify them, and take each of them once.

Two ways: ``verify`` checks the headers and the body that a framework hands over, and ``receiver``
is an ASGI application that does all of it::

    async def told(delivery: Delivery) -> None:
        print(delivery.event)

    app = receiver(told, secrets=["whsec_..."])

The application answers 2xx only after the function returned, so the server sends again what could
not be worked on. It remembers the ids of deliveries (``Seen``) and answers a repeat with 2xx
without another call.
"""

from __future__ import annotations

import hmac
import inspect
import logging
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, Struct

from .protocol.operations import GET_TASK
from .protocol.types import StreamResponse, Task
from .protocol.v03 import V03
from .protocol.webhooks import (
    TOKEN,
    TOLERANCE,
    PublicKey,
    Secret,
    Verified,
    WebhookError,
)
from .protocol.webhooks import verify as verify_signature

log = logging.getLogger("greenroom.webhooks")

MAX_BODY = 16 * 1024 * 1024
_KEPT = 86_400.0
_stream_response = msgspec.json.Decoder(StreamResponse).decode


class Delivery(Struct, frozen=True):
    """One delivery that was verified."""

    id: str
    """The same in every attempt. Empty where nothing but a token or a password was verified and
    the sender named none."""
    event: StreamResponse | Task
    """A ``StreamResponse`` of 1.0 with one member, or the ``Task`` that a client of 0.3 gets."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Seen(Protocol):
    """Remembers which deliveries were taken. One that many processes share needs a database."""

    async def begin(self, delivery_id: str) -> bool:
        """Whether the delivery is new; then nobody else may take it until ``end``."""
        ...

    async def end(self, delivery_id: str, *, taken: bool) -> None:
        """The delivery was taken, and is never new again, or it was not, and may come again."""
        ...


class SeenInMemory:
    """Remembers ids for a day, in this process, at most ``most`` of them."""

    def __init__(self, *, most: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        self._most = most
        self._clock = clock
        self._ids: OrderedDict[str, float] = OrderedDict()
        self._under_way: set[str] = set()

    async def begin(self, delivery_id: str) -> bool:
        now = self._clock()
        while self._ids and (
            len(self._ids) > self._most or next(iter(self._ids.values())) < now - _KEPT
        ):
            self._ids.popitem(last=False)
        if delivery_id in self._ids:
            return False
        if delivery_id in self._under_way:
            raise WebhookError("this delivery is being worked on")
        self._under_way.add(delivery_id)
        return True

    async def end(self, delivery_id: str, *, taken: bool) -> None:
        self._under_way.discard(delivery_id)
        if taken:
            self._ids[delivery_id] = self._clock()


class Check(Struct, frozen=True, kw_only=True):
    """What must hold of a delivery. All that is given must; something must be given."""

    secrets: Sequence[Secret] = ()
    """Of the signature; two during a rotation."""
    keys: Sequence[PublicKey] = ()
    """ed25519 keys of the signature."""
    token: str = ""
    """What ``X-A2A-Notification-Token`` must say."""
    bearer: str = ""
    """The credentials of ``Authorization: Bearer``."""
    basic: tuple[str, str] | None = None
    """User name and password of ``Authorization: Basic``."""
    jwt: Callable[[str], object] | None = None
    """Verifies the token of ``Authorization: Bearer``; raises for one that is no good."""
    tolerance: float = TOLERANCE
    """Seconds that a timestamp may be away from this clock, in both directions."""


def verify(
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[str] = (),
    keys: Sequence[PublicKey] = (),
    token: str = "",
    bearer: str = "",
    basic: tuple[str, str] | None = None,
    jwt: Callable[[str], object] | None = None,
    tolerance: float = TOLERANCE,
    now: float | None = None,
) -> Delivery:
    """Return the delivery that ``headers`` and ``body`` are, if all that is given holds.

    ``secrets`` are those of Standard Webhooks and of AMP; see ``Check`` for the others. ``now`` is
    seconds since the epoch. It does not tell whether the delivery came before: remember its ``id``.
    Raises WebhookError.
    """
    check = Check(
        secrets=[Secret(text) for text in secrets],
        keys=keys,
        token=token,
        bearer=bearer,
        basic=basic,
        jwt=jwt,
        tolerance=tolerance,
    )
    return checked(check, headers, body, time.time() if now is None else now)


def checked(check: Check, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
    """Return the delivery, if ``check`` holds. Raises WebhookError."""
    fields = {name.lower(): value for name, value in headers.items()}
    if not (check.secrets or check.keys or check.token or check.bearer or check.basic or check.jwt):
        raise WebhookError("say how deliveries prove where they come from: give secrets or a token")
    signed: Verified | None = None
    if check.secrets or check.keys:
        signed = verify_signature(
            fields, body, secrets=check.secrets, keys=check.keys, now=now, tolerance=check.tolerance
        )
    if check.token and not _equal(fields.get(TOKEN.lower(), ""), check.token):
        raise WebhookError("the notification token is another one")
    _check_authorization(check, fields.get("authorization", ""))
    delivery_id = signed.id if signed is not None else fields.get("webhook-id", "")
    return Delivery(delivery_id, _event(fields, body), fields, body)


def _check_authorization(check: Check, value: str) -> None:
    scheme, _, credentials = value.partition(" ")
    if check.bearer and not (scheme.lower() == "bearer" and _equal(credentials, check.bearer)):
        raise WebhookError("the bearer token is another one")
    if check.basic is not None:
        wanted = ":".join(check.basic)
        try:
            given = b64decode(credentials, validate=True).decode()
        except ValueError:
            given = ""
        if not (scheme.lower() == "basic" and _equal(given, wanted)):
            raise WebhookError("the user name or the password is another one")
    if check.jwt is not None:
        try:
            if scheme.lower() != "bearer":
                raise ValueError("there is none")
            found = check.jwt(credentials)
            if inspect.iscoroutine(found):
                found.close()
            if inspect.isawaitable(found):  # nobody would await it, and it would verify nothing
                raise TypeError("jwt must be a plain function, not async")
        except Exception as error:
            raise WebhookError("the bearer token does not verify") from error


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _event(fields: Mapping[str, str], body: bytes) -> StreamResponse | Task:
    try:
        found = msgspec.json.decode(body)
        if isinstance(found, dict) and "kind" in found:
            task: Task = V03.response(GET_TASK, body)
            return task
        event = _stream_response(body)
    except Exception:
        raise WebhookError("the body is no event of A2A") from None
    members = [
        name for name in event.__struct_fields__ if getattr(event, name) not in (None, UNSET)
    ]
    if len(members) != 1:
        raise WebhookError("the body is no event of A2A: it must have one member")
    return event


# --- the application ------------------------------------------------------------------------------

Handle = Callable[[Delivery], Awaitable[object] | object]


def receiver(
    handle: Handle,
    *,
    secrets: Sequence[str] = (),
    seen: Seen | None = None,
    clock: Callable[[], float] = time.time,
    **check: Any,
) -> Receiver:
    """Return an ASGI application that calls ``handle`` with each new delivery.

    ``check`` are the other members of ``Check``: ``token``, ``bearer``, ``basic``, ``keys``,
    ``jwt``, ``tolerance``. Raises WebhookError for a secret that is none.
    """
    what = Check(secrets=[Secret(text) for text in secrets], **check)
    return Receiver(handle, what, seen or SeenInMemory(), clock)


class Receiver:
    """An ASGI application; see ``receiver``."""

    def __init__(
        self, handle: Handle, check: Check, seen: Seen, clock: Callable[[], float]
    ) -> None:
        self._handle = handle
        self._check = check
        self._seen = seen
        self._clock = clock

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError("a receiver of webhooks speaks HTTP")
        status = 405
        if scope["method"] == "POST":
            headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
            }
            body = await _read(receive)
            status = 413 if body is None else await self._take(headers, body)
        await send({"type": "http.response.start", "status": status, "headers": [
            (b"content-length", b"0")
        ]})  # fmt: skip
        await send({"type": "http.response.body", "body": b""})

    async def _take(self, headers: Mapping[str, str], body: bytes) -> int:
        """Return the status of the answer."""
        try:
            delivery = checked(self._check, headers, body, self._clock())
        except WebhookError as error:
            log.warning("a webhook was refused: %s", error)
            return 401
        if not delivery.id:
            return await self._call(delivery)
        try:
            if not await self._seen.begin(delivery.id):
                return 200  # a repeat
        except WebhookError:
            return 409  # another attempt is worked on; the sender tries again
        status = 500
        try:
            status = await self._call(delivery)
        finally:
            await self._seen.end(delivery.id, taken=status == 204)
        return status

    async def _call(self, delivery: Delivery) -> int:
        try:
            found = self._handle(delivery)
            if inspect.isawaitable(found):
                await found
        except Exception:
            log.exception("a webhook could not be worked on; the sender will send it again")
            return 500
        return 204


async def _read(receive: Any) -> bytes | None:
    """Return the body, ``None`` if it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return bytes(body)


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


__all__ = [
    "Check", "Delivery", "PublicKey", "Receiver", "Seen", "SeenInMemory", "WebhookError",
    "receiver", "verify",
]  # fmt: skip
