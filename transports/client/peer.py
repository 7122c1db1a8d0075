"""A peer agent over HTTP: its card, and requests in the version and binding that it speaks."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import msgspec

try:
    from opentelemetry.propagate import inject
except ImportError:  # the extra `telemetry` is not installed
    inject = None  # type: ignore[assignment]

from ...protocol import protojson, sse
from ...protocol.cards.shapes import parse_card
from ...protocol.cards.signing import SignatureError
from ...protocol.codec import HTTP_JSON, JSONRPC
from ...protocol.errors import (
    ERRORS,
    A2AError,
    ExtensionSupportRequiredError,
    InternalError,
    InvalidAgentResponseError,
)
from ...protocol.operations import Operation
from ...protocol.types import AgentCard, AgentInterface
from ...protocol.v03 import V03, V03_REST
from ...protocol.version import HEADER, V10
from ...protocol.version import V03 as VERSION_03
from .http import HttpError, Limits, Response, request
from .trust import Trust

WELL_KNOWN = ("/.well-known/agent-card.json", "/.well-known/agent.json")
BINDINGS = (JSONRPC, HTTP_JSON)
# -32010 is of servers of 0.2 and 0.3; what the draft of 1.1 has there is told by its reason.
_BY_CODE = {error.code: error for error in ERRORS} | {-32010: ExtensionSupportRequiredError}
_BY_REASON = {error.reason: error for error in ERRORS if error.reason}
_BY_STATUS = {error.http: error for error in reversed(ERRORS)}


class PeerError(Exception):
    """The address has no agent that we can talk to; the message says what was found."""


class Peer:
    """An agent somewhere: made by ``connect``, then ``call`` and ``events``."""

    def __init__(
        self,
        card: AgentCard,
        interface: AgentInterface,
        *,
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.card = card
        self.interface = interface
        self.version = VERSION_03 if _legacy(interface) else V10
        self._binding = interface.protocol_binding
        self._legacy = V03_REST if self._binding == HTTP_JSON else V03
        self._headers = dict(headers or {})
        self._limits = limits
        self._tls = tls
        self._ids = itertools.count(1)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        version: str | None = None,
        headers: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        trust: Trust | None = None,
    ) -> Peer:
        """Fetch the card of the agent at ``url`` (its address, or that of the card) and choose.

        ``version`` (1.0 or 0.3) refuses the other; without it the newest is taken, JSON-RPC before
        REST. With ``trust`` nothing is sent to an agent whose card is not signed by somebody whom
        it names, and the card is asked for without ``headers``. Raises PeerError and HttpError.
        """
        if not url.lower().startswith(("http://", "https://")):
            raise PeerError(f"{url!r} is not an http:// or https:// address")
        shown = {} if trust is not None else headers or {}
        card = await _fetch_card(url, version, shown, limits, tls, trust)
        interface = choose(card, version)
        return cls(card, interface, headers=headers, limits=limits, tls=tls)

    async def call(self, operation: Operation, asked: Any) -> Any:
        """Return the answer of a unary operation as its response Struct.

        Raises the peer's error as an ``A2AError``, and HttpError.
        """
        method, url, headers, body = self._request(operation, asked)
        async with self._open(method, url, headers, body) as response:
            answer = await response.read()
            if self._binding == JSONRPC:
                return self._result(operation, _envelope(answer, response.status))
            if response.status >= 400:
                raise _rest_error(answer, response.status)
            return self._result(operation, answer)

    async def events(self, operation: Operation, asked: Any) -> AsyncGenerator[Any, None]:
        """Yield each ``StreamResponse`` of a streaming operation; close it when done."""
        method, url, headers, body = self._request(operation, asked)
        headers["Accept"] = "text/event-stream"
        async with self._open(method, url, headers, body) as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                answer = await response.read()
                if self._binding == JSONRPC:
                    _envelope(answer, response.status)  # an error is an ordinary answer
                elif response.status >= 400:
                    raise _rest_error(answer, response.status)
                raise InvalidAgentResponseError("The agent answered a stream without events")
            decoder = sse.Decoder()
            async for chunk in response.chunks():
                decoder.receive_data(chunk)
                while (event := decoder.next_event()) is not None:
                    if event.data:
                        yield self._event(operation, event.data)

    def _open(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
        return request(method, url, headers=headers, body=body, limits=self._limits, tls=self._tls)

    def _event(self, operation: Operation, data: bytes) -> Any:
        if self._binding == JSONRPC:
            data = _envelope(data, 200)
        elif data.lstrip().startswith(b'{"error"'):
            raise _rest_error(data, 200)
        return self._result(operation, data)

    # --- what is written and read ---------------------------------------------------------------

    def _request(self, operation: Operation, asked: Any) -> tuple[str, str, dict[str, str], bytes]:
        if self.interface.tenant and not asked.tenant:
            asked = msgspec.structs.replace(asked, tenant=self.interface.tenant)
        legacy = self.version == VERSION_03
        body = self._legacy.request(operation, asked) if legacy else protojson.encode(asked)
        headers = {**self._headers, HEADER: self.version, "Accept": "application/json"}
        if inject is not None:
            inject(headers)  # the trace of whoever calls goes on at the agent's
        url = self.interface.url
        if self._binding == JSONRPC:
            name = operation.method_03 if legacy else operation.name
            if name is None:
                raise PeerError(f"A2A 0.3 has no {operation.name} over JSON-RPC")
            headers["Content-Type"] = "application/json"
            start = msgspec.json.encode({"jsonrpc": "2.0", "id": next(self._ids), "method": name})
            return "POST", url, headers, start[:-1] + b',"params":' + body + b"}"
        headers["Content-Type"] = "application/json" if legacy else "application/a2a+json"
        method, path = (operation.rest_03 if legacy else operation.rest)[0]
        left = msgspec.to_builtins(asked)
        for info in msgspec.structs.fields(operation.request):
            if "{" + info.name + "}" in path:
                value = left.pop(info.encode_name)
                path = path.replace("{" + info.name + "}", quote(value, safe=""))
        left.pop("tenant", None)
        prefix = "/v1" if legacy and not urlsplit(url).path.rstrip("/").endswith("/v1") else ""
        if self.interface.tenant and not legacy:
            prefix = "/" + quote(self.interface.tenant, safe="")
        address = url.rstrip("/") + prefix + path
        if operation.body:
            return method, address, headers, body
        query = urlencode({name: _in_query(value) for name, value in left.items()})
        return method, f"{address}?{query}" if query else address, headers, b""

    def _result(self, operation: Operation, body: bytes | msgspec.Raw) -> Any:
        if self.version == VERSION_03:
            return self._legacy.response(operation, bytes(body))
        if operation.response is None:
            return None
        try:
            return protojson.decode(bytes(body), operation.response)
        except A2AError as error:
            raise InvalidAgentResponseError(
                f"The agent's answer is not A2A 1.0: {error}"
            ) from error


# --- cards --------------------------------------------------------------------------------------


async def _fetch_card(
    url: str,
    version: str | None,
    headers: Mapping[str, str],
    limits: Limits | None,
    tls: ssl.SSLContext | None,
    trust: Trust | None,
) -> AgentCard:
    tried: list[str] = []
    for address in card_addresses(url):
        # Without A2A-Version: clients of every version ask so, and get every interface there is.
        async with request(
            "GET",
            address,
            headers={**headers, "Accept": "application/json"},
            limits=limits,
            tls=tls,
        ) as response:
            body = await response.read()
            if response.status == 200:
                try:
                    if trust is None:
                        card = parse_card(body)
                    else:
                        card, _, _ = await trust.verify(body, tls=tls)
                except SignatureError as error:
                    raise PeerError(f"the card at {address} is not trusted: {error}") from error
                except A2AError as error:
                    raise PeerError(f"{address} is not an agent card: {error}") from error
                if _is_for(card, address, url):
                    return card
                served = ", ".join(dict.fromkeys(one.url for one in card.supported_interfaces))
                raise PeerError(f"no agent at {url}: {address} is of {card.name!r} at {served}")
            tried.append(f"{address} ({response.status})")
    raise PeerError(f"no agent card at {' nor at '.join(tried)}")


def _is_for(card: AgentCard, address: str, url: str) -> bool:
    """Whether a card is that of the agent at ``url``, or of another one on its server."""
    path = urlsplit(url).path.rstrip("/")
    if path in ("", "/a2a") or path.endswith(".json") or urlsplit(address).path not in WELL_KNOWN:
        return True
    # What was meant for a mistyped agent must not reach the one that is served at the root.
    return any(urlsplit(one.url).path.rstrip("/") == path for one in card.supported_interfaces)


def card_addresses(url: str) -> list[str]:
    """Where the card of the agent at ``url`` may be: below it, then at the root of its server."""
    parts = urlsplit(url)
    if parts.path.endswith(".json"):
        return [url]
    base = parts.path.rstrip("/")
    folders = dict.fromkeys([base, base.removesuffix("/a2a"), ""])
    return [
        urlunsplit((parts.scheme, parts.netloc, folder + path, "", ""))
        for folder in folders
        for path in WELL_KNOWN
    ]


def choose(card: AgentCard, version: str | None = None) -> AgentInterface:
    """Return the interface to talk to; raises PeerError naming what the card offers instead."""
    usable = [
        interface
        for interface in card.supported_interfaces
        if interface.protocol_binding in BINDINGS
        and (version is None or _legacy(interface) == version.startswith("0."))
    ]
    if not usable:
        offered = ", ".join(
            f"{one.protocol_binding} {one.protocol_version}" for one in card.supported_interfaces
        )
        wanted = f"A2A {version} " if version else ""
        raise PeerError(
            f"{card.name!r} does not offer {wanted}over JSON-RPC or REST; "
            f"it offers {offered or 'nothing'}"
        )
    # Stable: the card's own order decides among equals (section 8.3).
    return min(usable, key=lambda one: (_legacy(one), BINDINGS.index(one.protocol_binding)))


def _in_query(value: object) -> str:
    """Section 11.5: booleans in lower case, all else as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _legacy(interface: AgentInterface) -> bool:
    return interface.protocol_version.startswith("0.")


# --- errors -------------------------------------------------------------------------------------


class _Envelope(msgspec.Struct):
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: dict[str, Any] | None = None


def _envelope(body: bytes, status: int) -> bytes:
    """Return the result inside a JSON-RPC response, or raise the error inside."""
    try:
        envelope = msgspec.json.decode(protojson.unmarked(body), type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise HttpError(f"status {status}, and a body that is not JSON-RPC") from None
    if envelope.error is not None:
        raise _error(envelope.error.get("code"), envelope.error)
    if envelope.result is msgspec.UNSET:
        raise HttpError(f"status {status}, and a JSON-RPC body with neither result nor error")
    return bytes(envelope.result)


def _rest_error(body: bytes, status: int) -> Exception:
    try:
        found = msgspec.json.decode(protojson.unmarked(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return HttpError(f"status {status}, and a body that is not an A2A error")
    error = found.get("error", found)  # 0.3 has it bare
    if not isinstance(error, dict):
        return HttpError(f"status {status}: {str(error)[:200]}")
    code = error.get("code")
    if isinstance(code, int) and code < 0:
        return _error(code, error)
    return _error(None, error, _BY_STATUS.get(status))


def _error(code: Any, found: dict[str, Any], kind: type[A2AError] | None = None) -> A2AError:
    details = found.get("data", found.get("details"))
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("reason") in _BY_REASON:
            kind = _BY_REASON[detail["reason"]]
    kind = kind or (_BY_CODE.get(code) if isinstance(code, int) else None) or InternalError
    return kind(str(found.get("message") or "")[:2000])


__all__ = [
    "HttpError", "Limits", "Peer", "PeerError", "Response", "Trust", "card_addresses", "choose",
]  # fmt: skip
