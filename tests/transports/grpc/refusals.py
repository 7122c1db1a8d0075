"""Every kind of request that the server refuses, each as bytes of one call."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from a2a.types import a2a_pb2 as pb
from h2.exceptions import ProtocolError

from greenroom.auth import Security, static_tokens
from greenroom.transports.grpc.status import Status

from .raw import SEND, STREAM, RawClient, framed, request
from .serving import MIB

TOKEN = "the-token-of-a-good-client"
MINE = ("authorization", f"Bearer {TOKEN}")
OTHER = ("authorization", "Bearer some-token-that-was-guessed")
GZIP = ("grpc-encoding", "gzip")
GET = "/lf.a2a.v1.A2AService/GetTask"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
HEALTH = "/grpc.health.v1.Health/Check"
_BOMB = framed(gzip.compress(b"\0" * (4 * MIB)), 1)
_LONGER = framed(gzip.compress(b"\0" * (8 * MIB)), 1)
_MISSING = framed(pb.GetTaskRequest(id="00000000-0000-4000-8000-000000000000").SerializeToString())
_ids = itertools.count()


class Refusal(NamedTuple):
    path: str
    fields: tuple[tuple[str, str], ...]
    body: Callable[[], bytes]
    status: Status
    end: bool = True


def _always(body: bytes) -> Callable[[], bytes]:
    return lambda: body


REFUSALS = {
    "no credentials": Refusal(SEND, (), lambda: request("x" * 4000, str(next(_ids))), Status(16)),
    "no credentials, a bomb": Refusal(GET, (GZIP,), _always(_BOMB), Status.UNAUTHENTICATED),
    "wrong credentials": Refusal(GET, (OTHER,), _always(_MISSING), Status.UNAUTHENTICATED),
    "wrong credentials, a bomb": Refusal(GET, (OTHER, GZIP), _always(_BOMB), Status(16)),
    "a bomb": Refusal(SEND, (MINE, GZIP), _always(_BOMB), Status.INVALID_ARGUMENT),
    "too large inflated": Refusal(SEND, (MINE, GZIP), _always(_LONGER), Status(8)),
    "no gzip": Refusal(SEND, (MINE, GZIP), _always(framed(b"x" * 4000, 1)), Status.INTERNAL),
    "too large": Refusal(SEND, (MINE,), _always(b"\0\xff\xff\xff\xff" + b"x" * 4000), Status(8)),
    "bad protobuf": Refusal(SEND, (MINE,), _always(framed(b"\x12" * 4000)), Status(3)),
    "bad protobuf to a stream": Refusal(STREAM, (MINE,), _always(framed(b"\x12" * 99)), Status(3)),
    "no message": Refusal(SEND, (MINE,), _always(framed(b"\x0a\0")), Status.INVALID_ARGUMENT),
    "cut off": Refusal(SEND, (MINE,), _always(b"\0\0\0\x0f\xff" + b"x" * 2000), Status.INTERNAL),
    "two messages": Refusal(SEND, (MINE,), _always(_MISSING * 2), Status.INTERNAL),
    "unknown task": Refusal(GET, (MINE,), _always(_MISSING), Status.NOT_FOUND),
    "unknown method": Refusal("/no.Such/Method", (MINE,), _always(_MISSING), Status(12)),
    "unknown version": Refusal(
        GET, (MINE, ("a2a-version", "7.0")), _always(_MISSING), Status.FAILED_PRECONDITION
    ),
    "unknown encoding": Refusal(
        GET, (MINE, ("grpc-encoding", "br")), _always(_MISSING), Status(12)
    ),
    "bad timeout": Refusal(GET, (MINE, ("grpc-timeout", "x")), _always(_MISSING), Status(3)),
    "too late": Refusal(
        GET, (MINE, ("grpc-timeout", "1m")), _always(_MISSING[:9]), Status(4), end=False
    ),
    "reflection, not one": Refusal(REFLECTION, (), _always(framed(b"\xff" * 900)), Status(3)),
    "reflection, too large": Refusal(REFLECTION, (), _always(framed(b"\x3a" * 5000)), Status(8)),
    "reflection, a bomb": Refusal(REFLECTION, (GZIP,), _always(_BOMB), Status(8)),
    "health, not one": Refusal(HEALTH, (), _always(framed(b"\xff" * 900)), Status(3)),
    "health, too large": Refusal(HEALTH, (), _always(framed(b"\x0a" * 5000)), Status(8)),
    "health, unknown": Refusal(HEALTH, (), _always(framed(b"\x0a\x02no")), Status.NOT_FOUND),
}


def security() -> Security:
    return Security(static_tokens(TOKEN))


def refuse(raw: RawClient, kind: str, times: int) -> None:
    """Make a call that is refused, so many times, on one connection."""
    refusal = REFUSALS[kind]
    for _ in range(times):
        stream = raw.begin(refusal.path, *refusal.fields)
        with suppress(ProtocolError):  # the server may end the stream before all is said
            raw.data(stream, refusal.body(), refusal.end)
        answer = raw.answer(stream)
        assert answer.status == refusal.status, (kind, answer.fields)
        del raw.answers[stream]
