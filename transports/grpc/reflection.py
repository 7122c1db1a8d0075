"""Server reflection, v1 and v1alpha: clients learn the services from the server itself.

Nobody is admitted for it. So a question is short (``MAX_DISCOVERY_MESSAGE``), an answer is counted
before it is written, and the descriptors in it, its long part, are the same bytes for everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from ...protocol.protobuf.wire import BYTES, WireError, length, read_tag, read_varint, skip, varint
from .rpc import Method, Rpc
from .status import RpcError, Status

# Of FileDescriptorProto and the descriptors in it: the numbers of what has a name.
_NAME, _PACKAGE, _DEPENDENCY, _MESSAGES, _ENUMS, _SERVICES = 1, 2, 3, 4, 5, 6
_NESTED_MESSAGES, _NESTED_ENUMS, _METHODS = 3, 4, 2
# Of ServerReflectionRequest: its host, and the questions of which it has one.
_HOST, _FILE, _SYMBOL, _EXTENSION, _NUMBERS, _LIST = 1, 3, 4, 5, 6, 7
# Of ServerReflectionResponse.
_VALID_HOST, _ORIGINAL, _DESCRIPTORS, _OF_TYPE, _LISTED, _ERROR = 1, 2, 4, 5, 6, 7


class Descriptors:
    """The files that the services are made of, by name and by the symbols in them."""

    def __init__(self) -> None:
        body = files(__name__.rpartition(".")[0]).joinpath("_pb", "descriptors.binpb").read_bytes()
        self.files: dict[str, bytes] = {}
        self.symbols: dict[str, str] = {}
        self._needs: dict[str, list[str]] = {}
        for number, file in _fields(body):
            if number == 1:
                self._add(file)

    def _add(self, file: bytes) -> None:
        fields = list(_fields(file))
        name = _text(fields, _NAME)
        package = _text(fields, _PACKAGE)
        self.files[name] = file
        self._needs[name] = [value.decode() for number, value in fields if number == _DEPENDENCY]
        for number, value in fields:
            if number in (_MESSAGES, _ENUMS, _SERVICES):
                self._declare(name, package, number, value)

    def _declare(self, file: str, scope: str, kind: int, body: bytes) -> None:
        inner = list(_fields(body))
        symbol = f"{scope}.{_text(inner, 1)}"
        self.symbols[symbol] = file
        for number, value in inner:
            if kind == _SERVICES and number == _METHODS:
                self.symbols[f"{symbol}.{_text(list(_fields(value)), 1)}"] = file
            elif kind == _MESSAGES and number == _NESTED_MESSAGES:
                self._declare(file, symbol, _MESSAGES, value)
            elif kind == _MESSAGES and number == _NESTED_ENUMS:
                self._declare(file, symbol, _ENUMS, value)

    def with_needs(self, name: str) -> list[bytes]:
        """Return a file and all it imports, each once, itself first."""
        order = [name]
        for known in order:
            order += [need for need in self._needs[known] if need not in order]
        return [self.files[one] for one in order]


class Reflection:
    """Answers both versions of the protocol, which differ in the name of their package only."""

    def __init__(self, services: list[str]) -> None:
        descriptors = Descriptors()
        self._symbols = descriptors.symbols
        listed = b"".join(_field(1, _field(1, name.encode())) for name in services)
        self._listed = _field(_LISTED, listed)
        self._files = {
            name: _field(
                _DESCRIPTORS, b"".join(_field(1, file) for file in descriptors.with_needs(name))
            )
            for name in descriptors.files
        }
        missing = b"\x08" + varint(Status.NOT_FOUND) + _field(2, b"There is no such thing here")
        self._missing = _field(_ERROR, missing)

    def methods(self) -> dict[bytes, Method]:
        """Return each path with what answers it."""
        method = Method(self._run, many=True, discovery=True)
        return {
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo".encode(): method
            for version in ("v1", "v1alpha")
        }

    async def _run(self, rpc: Rpc) -> None:
        rpc.send_header([])
        while (body := await rpc.next()) is not None:
            host, number, value = _question(body)
            answer = self._answer(number, value)
            echoed = _size(host) + _size(body)
            with rpc.counted(echoed + len(answer)):
                head = (_field(_VALID_HOST, host) if host else b"") + _field(_ORIGINAL, body)
                size = len(head) + len(answer)
                await rpc.write(b"\0" + size.to_bytes(4) + head, counted=True)
                await rpc.write(answer, counted=True)

    def _answer(self, number: int, value: bytes) -> bytes:
        """Return the field of the response that answers a question."""
        if number == _LIST:
            return self._listed
        name = value.decode()
        if number == _FILE:
            return self._files.get(name, self._missing)
        file = self._symbols.get(name.lstrip("."))
        if number == _SYMBOL and file is not None:
            return self._files[file]
        if number == _NUMBERS and file is not None:  # of extensions, which no message here has
            return _field(_OF_TYPE, _field(1, value))
        return self._missing


def _question(body: bytes) -> tuple[bytes, int, bytes]:
    """Return the host of a request, the number of its question and its value; the last counts."""
    host, question, value = b"", 0, b""
    try:
        for number, field in _fields(body):
            if number == _HOST:
                host = field
            elif number in (_FILE, _SYMBOL, _EXTENSION, _NUMBERS, _LIST):
                question, value = number, field
            if number != _EXTENSION:
                field.decode()
    except (IndexError, ValueError):
        pass
    else:
        return host, question, b"" if question == _EXTENSION else value
    raise RpcError(Status.INVALID_ARGUMENT, "Not a ServerReflectionRequest message")


def _fields(body: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(body):
        mark, position = read_tag(body, position)
        if mark & 7 == BYTES:
            size, position = read_varint(body, position)
            if position + size > len(body):
                raise WireError("cut off")
            yield mark >> 3, body[position : position + size]
            position += size
        else:
            position = skip(body, position, mark)
    if position != len(body):
        raise WireError("cut off")


def _field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | BYTES) + length(len(body)) + body


def _size(body: bytes) -> int:
    return len(body) + 8


def _text(fields: list[tuple[int, bytes]], wanted: int) -> str:
    return next((value.decode() for number, value in fields if number == wanted), "")
