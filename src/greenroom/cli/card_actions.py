"""What ``greenroom card`` does: see ``card`` for its options."""

from __future__ import annotations

import argparse
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec

from ..protocol import jose
from ..protocol.cards import signing
from ..protocol.cards.shapes import card_json, parse_card
from ..protocol.errors import A2AError
from ..protocol.types import AgentCard
from ..transports.client.credentials import Credentials
from ..transports.client.discovery import card_addresses, card_limits, fetch
from ..transports.client.errors import HttpError, UnusableAnswerError
from ..transports.client.http import HttpClient
from ..transports.client.trust import Trust, key_set
from . import tls as connecting
from .terminal import complain, note, say, show_json

T = TypeVar("T")
_SECONDS = 60.0
"""The longest time for fetching a card, and for its keys."""


def run(parsed: argparse.Namespace) -> int:
    """Carry the command out; return the exit code."""
    try:
        return anyio.run(_run, parsed)
    except (OSError, HttpError) as error:
        return complain(str(error) + connecting.advice(error, parsed.card, parsed), 3)
    except signing.SdkFormError as error:
        return complain(f"{error}; to believe it all the same: --accept-sdk-form", 1)
    except signing.SignatureError as error:
        return complain(str(error), 1)
    except (A2AError, ValueError) as error:
        return complain(str(error), 2)


async def _run(parsed: argparse.Namespace) -> int:
    tls = connecting.context(parsed)
    body = await _in_time(_card, parsed.card, tls)
    card = parse_card(body, strict=parsed.action == "sign")
    if parsed.action == "sign":
        key = jose.SigningKey(
            _file(parsed.key),
            kid=parsed.kid,
            algorithm=parsed.alg,
            jku=parsed.jku,
            sdk_form=parsed.sdk_form,
        )
        return _print(signing.sign(card, [key]))
    if parsed.action == "show":
        for header in _headers(card):
            note(f"signed with {header.get('alg')} by key {header.get('kid')}")
        return _print(card)
    trust = read_trust(
        parsed.key, parsed.jwks, parsed.trust_host, accept_sdk_form=parsed.accept_sdk_form
    )
    if trust is None:
        raise ValueError("nobody is trusted: name --key, --jwks or --trust-host")
    card, verified, beside = await _in_time(trust.verify, body, tls)
    form = "" if verified.form == "spec" else " (the official SDK's canonical form)"
    say(f"{card.name}: signed with {verified.algorithm} by key {verified.kid}{form}")
    if beside:
        note(f"not signed: {', '.join(beside)}")
    return 0


def read_trust(
    keys: Sequence[str], jwks: Sequence[str], hosts: Sequence[str], *, accept_sdk_form: bool = False
) -> Trust | None:
    """Return whom options of the command line trust, ``None`` if nobody: files of keys
    (``FILE`` or ``FILE=KID``), files or addresses of key sets, and hosts."""
    if not keys and not jwks and not hosts:
        return None
    trusted = []
    for entry in keys:
        path, _, kid = entry.partition("=")
        # Without a name the key may be any that the card names: it is this one key all the same.
        trusted.append(msgspec.structs.replace(jose.key_of_pem(_file(path), kid), kid=kid))
    away = tuple(place for place in jwks if place.startswith("http"))
    for place in jwks:
        if place not in away:
            trusted += key_set(_file(place))
    return Trust(
        keys=tuple(trusted), jwks=away, hosts=tuple(hosts), accept_sdk_form=accept_sdk_form
    )


def _headers(card: AgentCard) -> Iterator[Mapping[str, Any]]:
    """One that cannot be read does not hide those that can."""
    for one in card.signatures or ():
        with suppress(jose.JoseError):
            yield jose.header_of(one.protected)


async def _in_time(ask: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Return what ``ask`` returns; raises HttpError where that takes too long."""
    try:
        with anyio.fail_after(_SECONDS):
            return await ask(*arguments)
    except TimeoutError:
        raise HttpError(f"no answer in {_SECONDS:g} s") from None


async def _card(place: str, tls: ssl.SSLContext | None) -> bytes:
    if not place.startswith(("http://", "https://")):
        return sys.stdin.buffer.read() if place == "-" else _file(place)
    http, credentials = HttpClient(limits=card_limits(), tls=tls), Credentials(place)
    tried = []
    for address in card_addresses(place):
        try:
            status, body = await fetch(http, address, credentials)
            if status == 200:
                parse_card(body)  # a front page answers everywhere, and is no card
                return body
            tried.append(f"{address} (status {status})")
        except (UnusableAnswerError, A2AError) as error:
            tried.append(f"{address} ({error})")
    raise HttpError(f"no agent card at {' nor at '.join(tried)}")


def _file(path: str) -> bytes:
    return Path(path).read_bytes()


def _print(card: AgentCard) -> int:
    show_json(msgspec.json.format(card_json(card, "1.0"), indent=2).decode())
    return 0
