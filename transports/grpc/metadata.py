"""The metadata of a request: its header fields, beside its message (section 10.2)."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from ...protocol.errors import VersionNotSupportedError
from ...protocol.version import V03, negotiate
from ...runtime.call import Call
from ..caller.headers import HeaderView
from ..caller.proxies import CALLER
from .framing import IDENTITY
from .status import Headers, RpcError, Status

RawHeaders = Sequence[tuple[bytes, bytes]]

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_LONGEST = 365 * 86_400.0
_READ = frozenset(
    {
        b":authority", b":method", b":path", b"a2a-extensions", b"a2a-version", b"content-type",
        b"grpc-encoding", b"grpc-timeout", b"te", b"traceparent", b"tracestate",
        b"x-a2a-extensions", b"x-a2a-version", *CALLER,
    }
)  # fmt: skip


class Metadata:
    """The header of one request; repeated fields are joined by commas."""

    __slots__ = ("_raw", "fields", "path")

    def __init__(self, raw: RawHeaders) -> None:
        fields: dict[bytes, bytes] = {}
        for name, value in raw:
            if name in _READ:
                fields[name] = fields[name] + b"," + value if name in fields else value
        self._raw = raw
        self.fields = fields
        self.path = fields.get(b":path", b"")

    @property
    def refusal(self) -> tuple[int, str] | None:
        """HTTP status and reason where this is no gRPC request at all."""
        fields = self.fields
        if fields.get(b":method") != b"POST":
            return 405, "gRPC calls are POST requests"
        kind = fields.get(b"content-type", b"")
        if not kind.startswith(b"application/grpc") or kind[16:17] not in (b"", b"+", b";"):
            return 415, "gRPC calls have the content-type application/grpc"
        if kind[16:17] == b"+" and kind[17:].partition(b";")[0] != b"proto":
            return 415, "This server speaks application/grpc+proto"
        return None

    @property
    def host(self) -> str:
        """The host that the client means to have reached, without its port."""
        authority = self.fields.get(b":authority", b"").decode("latin-1")
        try:
            return urlsplit(f"//{authority}").hostname or "localhost"
        except ValueError:  # half an IPv6 address
            return "localhost"

    @property
    def encoding(self) -> bytes:
        """The compression of messages that say they are compressed."""
        return self.fields.get(b"grpc-encoding", IDENTITY)

    @property
    def timeout(self) -> float | None:
        """Seconds the caller waits for the answer; raises RpcError for a malformed value."""
        raw = self.fields.get(b"grpc-timeout")
        if raw is None:
            return None
        text = raw.decode("latin-1")
        digits, unit = text[:-1], _UNITS.get(text[-1:])
        if unit is None or not digits.isdecimal() or not digits.isascii() or len(digits) > 8:
            raise RpcError(Status.INVALID_ARGUMENT, "grpc-timeout must look like 100m or 5S")
        return min(int(digits) * unit, _LONGEST)

    def version(self, served: str) -> str:
        """Return the version negotiated; ``served`` is that of the service, and the default.

        Raises VersionNotSupportedError, also where the version belongs to the other service.
        """
        raw = self.fields.get(b"a2a-version", self.fields.get(b"x-a2a-version"))
        if not raw:
            return served
        version = negotiate(raw.decode("latin-1"))
        if (version == V03) != (served == V03):
            raise VersionNotSupportedError(
                f"This service does not speak A2A {version}: use "
                + ("a2a.v1.A2AService" if version == V03 else "lf.a2a.v1.A2AService")
            )
        return version

    @property
    def extensions(self) -> tuple[str, ...]:
        """URIs of the extensions asked for, each once, under the 1.0 and the 0.3 name."""
        fields = self.fields
        both = fields.get(b"a2a-extensions", b"") + b"," + fields.get(b"x-a2a-extensions", b"")
        uris = (uri.strip() for uri in both.decode("latin-1").split(","))
        return tuple(dict.fromkeys(uri for uri in uris if uri))

    def call(
        self,
        version: str,
        agent: str,
        *,
        peer: str,
        certificate: bytes | None,
        forwarded_certificate: str | None,
    ) -> Call:
        """Return the call as the runtime sees it."""
        fields = self.fields
        call = Call(
            binding="GRPC",
            version=version,
            agent=agent,
            headers=HeaderView(self._raw),
            peer=peer,
            certificate=certificate,
            forwarded_certificate=forwarded_certificate,
        )
        if b"a2a-extensions" in fields or b"x-a2a-extensions" in fields:
            call.extensions = self.extensions
        if (parent := fields.get(b"traceparent")) is not None:
            call.traceparent = parent.decode("latin-1")
            call.tracestate = fields.get(b"tracestate", b"").decode("latin-1") or None
        return call


def answer(version: str, call: Call) -> Headers:
    """Return the initial metadata of an answer, beside what every answer has."""
    fields: Headers = [(b"a2a-version", version.encode())]
    if call.activated:
        name = b"x-a2a-extensions" if version == V03 else b"a2a-extensions"
        fields.append((name, ", ".join(call.activated).encode("latin-1", "replace")))
    return fields
