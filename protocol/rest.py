"""HTTP+JSON (section 11): which path is which operation, and requests that travel in the URL.

Routes follow from ``operations``: those of 1.0 at ``/…`` and ``/{tenant}/…``, those of 0.3 and 0.2
below ``/v1/…``. Paths come percent-encoded, as they were sent: an id may hold colons and slashes.

Some clients encode the colon of ``message:send`` and of ``{id}:cancel``. Such a path is read with
a plain colon only where the method has no other meaning there: ``GET /tasks/x%3Asubscribe`` asks
for the task ``x:subscribe``. No other letter of a route may be encoded: no client has to, and a
rule of a proxy for a literal path would not hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_plus

from msgspec import inspect, structs

from . import protojson
from .codec import Codec
from .errors import InvalidParamsError, VersionNotSupportedError
from .operations import OPERATIONS, Operation
from .types import TaskState, Wire
from .validation import check
from .version import HEADER, V03, V10, negotiate

RESERVED = frozenset(
    {
        "a2a", "card", "console", "docs", "extendedAgentCard", "health", "jwks", "metrics",
        "ready", "tasks", "v1",
    }
)  # fmt: skip
"""First words of paths that mean something already."""
MAX_QUERY = 16_384
"""Characters of a query; longer ones are no request of ours."""


class Match(NamedTuple):
    """What a path means. ``family`` is 1.0 or 0.3; ``params`` are fields of the request."""

    operation: Operation
    family: str
    params: dict[str, str]

    @property
    def tenant(self) -> str | None:
        return self.params.get("tenant")


def match(method: str, path: str) -> Match | None:
    """Return what ``method`` on a (percent-encoded) ``path`` asks for, or ``None``.

    ``None`` is a 405 where ``allowed(path)`` names methods, else a 404.
    """
    static = _STATIC.get((method, path))
    if static is not None:
        return static
    for route, family, params in _meanings(path):
        operation = route.methods.get(method)
        if operation is not None:
            return Match(operation, family, params)
    return None


def allowed(path: str) -> tuple[str, ...]:
    """Return the methods that ``path`` takes, for ``Allow``; empty where there is nothing."""
    return tuple(sorted({method for route, _, _ in _meanings(path) for method in route.methods}))


def reserved(tenant: str) -> bool:
    """Whether a word cannot be a tenant, for its paths would mean something else."""
    return tenant in RESERVED or tenant.startswith((".", "message:"))


def version(matched: Match, asked: str | None) -> str:
    """Return the version to serve: what was asked for, if the path exists there.

    Raises VersionNotSupportedError, telling what to send, where it does not.
    """
    negotiated = negotiate(asked)
    if (negotiated == V03) == (matched.family == V03):
        return negotiated
    advice = (
        f"send the header {HEADER}: {V10}" if matched.family == V10 else "leave out /v1 in the path"
    )
    raise VersionNotSupportedError(
        f"This path is of A2A {matched.family}, and the request is one of {negotiated}: {advice}"
    )


def request(codec: Codec, matched: Match, query: str = "", body: protojson.Body = b"") -> Any:
    """Return the validated request of a match; ``query`` without its question mark.

    Raises ParseError and InvalidParamsError.
    """
    operation = matched.operation
    if operation.body:
        return codec.decode(operation, body if len(body) else b"{}", matched.params)
    if query:
        plain = _plain(operation.request, query, legacy=matched.family == V03)
        if matched.family == V03 and plain.get("historyLength") == "0":
            del plain["historyLength"]  # in 0.3 zero is the default of proto3: all of it
        decoded = protojson.read({**plain, **matched.params}, operation.request)
        if matched.family == V03 and getattr(decoded, "history_length", None) == 0:
            # In a body of 0.3, too, 0 is no limit: its proto cannot say "unset".
            decoded = structs.replace(decoded, history_length=None)
    else:
        decoded = operation.request(**matched.params)
    check(decoded)
    return decoded


def parameters(query: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a query, decoded, in their order."""
    if len(query) > MAX_QUERY:
        raise InvalidParamsError(f"The query is longer than {MAX_QUERY} characters")
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name:
            yield _unquote_plus(name), _unquote_plus(value)


# --- routes --------------------------------------------------------------------------------------


class _Route(NamedTuple):
    segments: tuple[str, ...]
    """Literal words, and ``{name}`` for what varies; the verb apart."""
    verb: str
    methods: dict[str, Operation]

    def params(self, segments: list[str]) -> dict[str, str] | None:
        values: dict[str, str] = {}
        for word, segment in zip(self.segments, segments, strict=True):
            if word[0] != "{":
                if word != segment:
                    return None
                continue
            value = segment.removesuffix(self.verb)
            if not value or (self.verb and value == segment):
                return None
            if "%" in value:
                try:
                    value = unquote(value, errors="strict")
                except UnicodeDecodeError:
                    return None
            values[word[1:-1]] = value
        return values


_Found = tuple[_Route, str, dict[str, str]]
"""A route, its family, and the fields that its path names."""


def _routes(legacy: bool) -> dict[int, list[_Route]]:
    """Return the routes of a family by their number of segments, those with verbs first."""
    by_path: dict[str, _Route] = {}
    for operation in OPERATIONS:
        for method, path in operation.rest_03 if legacy else operation.rest:
            # A colon after a variable is a verb, elsewhere it belongs to the word.
            plain, brace, verb = path.rpartition("}:")
            segments = (f"{plain}}}" if brace else path)[1:].split("/")
            verb = f":{verb}" if brace else ""
            route = by_path.setdefault(path, _Route(tuple(segments), verb, {}))
            route.methods[method] = operation
    by_length: dict[int, list[_Route]] = {}
    for route in sorted(by_path.values(), key=lambda route: not route.verb):
        by_length.setdefault(len(route.segments), []).append(route)
    return by_length


_ROUTES = {V10: _routes(False), V03: _routes(True)}
_STATIC = {
    (method, prefix + path): Match(operation, family, {})
    for operation in OPERATIONS
    for family, prefix, routes in (
        (V10, "", operation.rest),
        (V03, "/v1", operation.rest_03),
    )
    for method, path in routes
    if "{" not in path
}


_COLON = re.compile(r"%3[Aa](?=[^/%]*/?\Z)")


def _meanings(path: str) -> Iterator[_Found]:
    """Yield the route of ``path`` as written, and that with a plain colon in front of its verb."""
    target = _find(path)
    if target is not None:
        yield target
    if "%3" in path:
        plain = _COLON.sub(":", path, 1)
        target = None if plain == path else _find(plain)
        if target is not None:
            yield target


def _find(path: str) -> _Found | None:
    segments = path.split("/")[1:]
    if len(segments) > 1 and not segments[-1]:
        segments.pop()
    if not segments:
        return None
    if segments[0] == "v1":
        return _among(V03, segments[1:])
    route = _among(V10, segments)
    if route is None and len(segments) > 1:
        try:
            tenant = unquote(segments[0], errors="strict")
        except UnicodeDecodeError:
            return None
        if tenant and not reserved(tenant):
            route = _among(V10, segments[1:])
            if route is not None:
                route[2]["tenant"] = tenant
    return route


def _among(family: str, segments: list[str]) -> _Found | None:
    for route in _ROUTES[family].get(len(segments), ()):
        params = route.params(segments)
        if params is not None:
            return route, family, params
    return None


# --- queries -------------------------------------------------------------------------------------


def _plain(type_: type[Wire], query: str, *, legacy: bool) -> dict[str, Any]:
    """Return the plain JSON that a query stands for; names nobody knows are left out."""
    fields = _fields(type_)
    plain: dict[str, Any] = {}
    for name, value in parameters(query):
        field = fields.get(name)
        if field is None:
            continue
        key, kind = field
        if kind is inspect.ListType:
            plain.setdefault(key, []).extend(item for item in value.split(",") if item)
        elif kind is inspect.BoolType:
            plain[key] = {"true": True, "false": False}.get(value.lower(), value)
        elif kind is inspect.EnumType and legacy and value.islower():
            # 0.3 writes `input-required` where the proto says TASK_STATE_INPUT_REQUIRED
            state = f"TASK_STATE_{value.upper().replace('-', '_')}"
            plain[key] = state if state in TaskState.__members__.values() else value
        else:
            plain[key] = value
    return plain


@cache
def _fields(type_: type[Wire]) -> dict[str, tuple[str, type]]:
    """Return name in a query (camelCase and proto name) -> (field, kind of its type)."""
    schema = inspect.type_info(type_)
    assert isinstance(schema, inspect.StructType)
    fields: dict[str, tuple[str, type]] = {}
    for field in schema.fields:
        node = field.type
        if isinstance(node, inspect.UnionType):
            node = next(t for t in node.types if not isinstance(t, inspect.NoneType))
        if not isinstance(node, inspect.StructType | inspect.DictType):
            fields[field.name] = fields[field.encode_name] = (field.name, type(node))
    return fields


def _unquote_plus(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidParamsError("The query is not UTF-8") from None
