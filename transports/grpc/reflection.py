"""Server reflection, v1 and v1alpha: clients learn the services from the server itself."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any, TypeVar

import betterproto2

from ...protocol.protobuf.wire import BYTES, read_tag, read_varint, skip
from ._pb.grpc.reflection import v1, v1alpha
from .rpc import Method, Rpc
from .status import RpcError, Status

M = TypeVar("M", bound=betterproto2.Message)

# Of FileDescriptorProto and the descriptors in it: the numbers of what has a name.
_NAME, _PACKAGE, _DEPENDENCY, _MESSAGES, _ENUMS, _SERVICES = 1, 2, 3, 4, 5, 6
_NESTED_MESSAGES, _NESTED_ENUMS, _METHODS = 3, 4, 2


def parsed(type_: type[M], body: bytes) -> M:
    """Return a message of a generated class; raises RpcError for bytes that are none."""
    try:
        return type_.parse(body)
    except Exception as error:  # betterproto2 lets out whatever its parts raise
        raise RpcError(Status.INVALID_ARGUMENT, f"Not a {type_.__name__} message") from error


class Descriptors:
    """The files that the services are made of, by name and by the symbols in them."""

    def __init__(self) -> None:
        body = files(__package__).joinpath("_pb", "descriptors.binpb").read_bytes()
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


def _fields(body: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(body):
        mark, position = read_tag(body, position)
        if mark & 7 == BYTES:
            size, position = read_varint(body, position)
            yield mark >> 3, body[position : position + size]
            position += size
        else:
            position = skip(body, position, mark)


def _text(fields: list[tuple[int, bytes]], wanted: int) -> str:
    return next((value.decode() for number, value in fields if number == wanted), "")


class Reflection:
    """Answers both versions of the protocol, which differ in their package only."""

    def __init__(self, services: list[str]) -> None:
        self._services = services
        self._descriptors = Descriptors()

    def methods(self) -> dict[bytes, Method]:
        """Return each path with what answers it."""
        return {
            f"/{package}.ServerReflection/ServerReflectionInfo".encode(): Method(
                self._answering(module), many=True
            )
            for package, module in (
                ("grpc.reflection.v1", v1),
                ("grpc.reflection.v1alpha", v1alpha),
            )
        }

    def _answering(self, pb: Any) -> Any:
        async def run(rpc: Rpc) -> None:
            rpc.send_header([])
            while (body := await rpc.receive()) is not None:
                request = parsed(pb.ServerReflectionRequest, body)
                response = self._answer(pb, request)
                response.valid_host = request.host
                response.original_request = request
                await rpc.send([bytes(response)])

        return run

    def _answer(self, pb: Any, request: Any) -> Any:
        if request.list_services is not None:
            listed = [pb.ServiceResponse(name=name) for name in self._services]
            return pb.ServerReflectionResponse(
                list_services_response=pb.ListServiceResponse(service=listed)
            )
        name: str | None = None
        if request.file_by_filename is not None:
            name = request.file_by_filename
        elif request.file_containing_symbol is not None:
            name = self._descriptors.symbols.get(request.file_containing_symbol.lstrip("."))
        elif request.all_extension_numbers_of_type is not None:
            type_ = request.all_extension_numbers_of_type
            if type_.lstrip(".") in self._descriptors.symbols:
                return pb.ServerReflectionResponse(
                    all_extension_numbers_response=pb.ExtensionNumberResponse(base_type_name=type_)
                )
        if name in self._descriptors.files:
            return pb.ServerReflectionResponse(
                file_descriptor_response=pb.FileDescriptorResponse(
                    file_descriptor_proto=self._descriptors.with_needs(name)
                )
            )
        return pb.ServerReflectionResponse(
            error_response=pb.ErrorResponse(
                error_code=Status.NOT_FOUND, error_message="There is no such thing here"
            )
        )
