"""The settings of a server, and their sources: defaults < TOML file < environment < command line.

One Struct holds everything; its field descriptions are the help of ``greenroom serve``. A name that
nobody knows is an error with a suggestion, wherever it was written.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from ..runtime.security.limits import Limits
from ..runtime.settings.bounds import Port
from ..runtime.settings.push import PushSettings
from ..runtime.settings.settings import RuntimeSettings
from ..transports.grpc.settings import GrpcSettings
from ..transports.http.settings import HttpSettings
from ..transports.settings import Listen, Tls
from .auth import AuthSettings
from .auth_checks import refuse_empty
from .names import PREFIX, shown, unknown

_EXAMPLES = {
    "auth.tokens": "holder=token",
    "auth.users": "name=scrypt:...",
    "limits.operations": "SendMessage=20",
    "push.secrets": "agent=whsec_...",
}
AUTH_TOKEN = "AUTH_TOKEN"
"""The variable that other A2A servers read their static token from."""
# Not settings: they name the file to read, or where variables are only passed through.
RESERVED = frozenset({"GREENROOM_CONFIG"})
# Kubernetes describes a service called "greenroom" with variables of these shapes.
_ORCHESTRATOR = re.compile(r"GREENROOM_(SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+)")


class SettingsError(ValueError):
    """A setting is unknown, or its value cannot be used; the message says what to write."""


class Settings(Struct, kw_only=True, forbid_unknown_fields=True):
    """The settings of ``greenroom serve`` and ``greenroom.serve``. Times are in seconds.

    ``greenroom settings`` tells what each means, those of the groups included.
    """

    agents: Annotated[
        tuple[str, ...], Meta(description="agents to serve: module:attribute or file.py:attribute")
    ] = ()
    host: Annotated[str, Meta(title="ADDRESS", description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(title="PORT", description="port; 0 picks a free one")] = 8000
    grpc_port: Annotated[
        Port | None,
        Meta(title="PORT", description="port for gRPC; 0 picks a free one; default: no gRPC"),
    ] = None
    store: Annotated[
        str,
        Meta(
            title="URL",
            description="sqlite:///path (add ?durability=relaxed for speed) or memory://",
        ),
    ] = "sqlite:///greenroom.db"
    public_url: Annotated[
        str | None,
        Meta(title="URL", description="address to put on cards; default: taken from the request"),
    ] = None
    certfile: Annotated[
        str | None, Meta(title="FILE", description="TLS certificate chain (PEM)")
    ] = None
    keyfile: Annotated[str | None, Meta(title="FILE", description="TLS private key (PEM)")] = None
    client_ca: Annotated[
        str | None,
        Meta(title="FILE", description="mutual TLS: certificate authorities of the clients (PEM)"),
    ] = None
    client_certificate: Annotated[
        Literal["optional", "required"], Meta(description="whether every client must have one")
    ] = "required"
    http2: Annotated[bool, Meta(description="offer HTTP/2 over TLS beside HTTP/1.1")] = False
    backend: Annotated[Literal["asyncio", "trio"], Meta(description="event loop family")] = (
        "asyncio"
    )
    loop: Annotated[
        Literal["asyncio", "uvloop"], Meta(description="loop of the asyncio backend")
    ] = "asyncio"
    workers: Annotated[
        int, Meta(ge=1, description="serving processes; more than 1 needs a shared store")
    ] = 1
    reload: Annotated[bool, Meta(description="restart when a source file changes")] = False
    grace: Annotated[
        float, Meta(ge=0, description="what running handlers are given on SIGTERM")
    ] = 10.0
    deadline: Annotated[
        float, Meta(gt=0, description="the process is gone this long after SIGTERM at the latest")
    ] = 20.0
    keep_alive: Annotated[float, Meta(gt=0, description="how long an idle connection stays")] = 75.0
    backlog: Annotated[int, Meta(ge=1, description="connections that may wait to be taken")] = 2048
    max_connections: Annotated[
        int,
        Meta(
            ge=1,
            description="open connections, fewer where the limit of open files asks for it; one "
            "more takes the place of an idle one, or is refused",
        ),
    ] = 10_000
    max_connections_per_address: Annotated[
        int,
        Meta(
            ge=1,
            description="open connections of one address that is no trusted proxy; at most half of "
            "what the limit of open files leaves",
        ),
    ] = 5_000
    tune_gc: Annotated[
        bool, Meta(description="freeze and relax the garbage collector after start")
    ] = True
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least level logged")
    ] = "info"
    log_format: Annotated[
        Literal["console", "json"], Meta(description="one JSON object a line, or plain text")
    ] = "console"
    http: HttpSettings = field(default_factory=HttpSettings)
    grpc: GrpcSettings = field(default_factory=GrpcSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    limits: Limits = field(default_factory=Limits)
    auth: AuthSettings = field(default_factory=AuthSettings)
    push: PushSettings = field(default_factory=PushSettings)

    def listen(self, port: int) -> Listen:
        """Return where a server of this process listens: HTTP and gRPC differ in the port only."""
        tls = Tls(
            certfile=self.certfile,
            keyfile=self.keyfile,
            client_ca=self.client_ca,
            client_certificate=self.client_certificate,
        )
        return Listen(host=self.host, port=port, tls=tls)


GROUPS: dict[str, type[Struct]] = {
    "http": HttpSettings,
    "grpc": GrpcSettings,
    "runtime": RuntimeSettings,
    "limits": Limits,
    "auth": AuthSettings,
    "push": PushSettings,
}
"""Nested settings: a TOML table, ``GREENROOM_HTTP_…``, ``--set http.…=…``."""

_UNSET = ("none", "null")


class Option(Struct, frozen=True):
    """One top-level setting as the command line shows it."""

    name: str
    type: Any
    default: Any
    description: str
    title: str

    @property
    def takes(self) -> str:
        """What is to be written behind the flag."""
        return self.title or {int: "N", float: "SECONDS"}.get(self.type, "TEXT")

    @property
    def choices(self) -> tuple[str, ...] | None:
        return get_args(self.type) or None if "Literal" in repr(self.type) else None


def options() -> Iterator[Option]:
    """Return the settings that have a flag of their own, in the order of declaration."""
    hints = get_type_hints(Settings, include_extras=True)
    defaults = Settings()
    for name in Settings.__struct_fields__:
        if name in GROUPS:
            continue
        kind, *_, meta = get_args(hints[name])  # the innermost type, the outermost description
        yield Option(name, kind, getattr(defaults, name), meta.description or "", meta.title or "")


def names() -> dict[str, str]:
    """Return every environment variable and the setting it fills (``http.x`` for nested ones)."""
    names = {PREFIX + option.name.upper(): option.name for option in options()}
    for group, kind in GROUPS.items():
        for name in kind.__struct_fields__:
            names[f"{PREFIX}{group.upper()}_{name.upper()}"] = f"{group}.{name}"
    return names


def load(
    *,
    config: str | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    flags: bool = False,
) -> Settings:
    """Return the settings of all sources, later ones first obeyed.

    ``config`` is a TOML file with a ``[greenroom]`` table (default: ``GREENROOM_CONFIG``);
    ``overrides`` are names with values (text is converted), nested ones as ``http.name``; with
    ``flags`` they are those of a command line. Raises SettingsError, which says where the setting
    was written.
    """
    environ = environ or {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if config := config or environ.get("GREENROOM_CONFIG"):
        text, table = _read(Path(config))
        flat = _flatten(table)
        _merge(values, flat, f"{config}")
        origins |= {name: f"{config}{_line_of(name, text)}" for name in flat}
    if (token := environ.get(AUTH_TOKEN)) is not None:
        if not token.strip():
            raise SettingsError(
                f"environment variable {AUTH_TOKEN} is empty, and a server without a token is open "
                "to everybody: give it a value, or unset it"
            )
        values["auth.token"] = token
    variables = _from_environment(environ)
    _merge(values, variables, "the environment")
    written = {setting: variable for variable, setting in names().items()}
    origins |= {name: f"environment variable {written[name]}" for name in variables}
    _merge(values, overrides or {}, "the command line or call")
    origins |= {name: _flag(name) if flags else f"argument {name}" for name in overrides or {}}
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, _, leaf = name.rpartition(".")
        if group == "auth":
            try:
                refuse_empty(leaf, value)
            except ValueError as error:
                raise SettingsError(f"setting {error}") from None
        (nested.setdefault(group, {}) if group else nested)[leaf] = value
    try:
        settings = msgspec.convert(nested, Settings, strict=False)
    except msgspec.ValidationError as error:
        where = re.search(r"at `\$\.?([\w.]*)", str(error))
        name = where[1] if where else "?"
        text = re.sub(r" - at `.*`", "", str(error))
        if name.startswith(("auth.", "push.")):
            text = re.sub(r" '.*'", "", text)  # a secret may have been written to the wrong setting
        if values.get(name) in _UNSET:
            text = "it cannot be unset; leave it out to get its default"
        for option in options():
            if option.name == name and option.choices:
                text += f"; it is one of {', '.join(option.choices)}"
        origin = f" ({origins[name]})" if name in origins else ""
        raise SettingsError(f"setting {name}: {text}{_meant(text)}{origin}") from None
    if settings.public_url:
        check_public_url(settings.public_url)
    return settings


def check_public_url(url: str) -> None:
    """Raise SettingsError for what is not a whole address."""
    if not re.match(r"https?://[^/]", url):
        raise SettingsError(
            "setting public_url: it is not a whole address; write it as in "
            "https://agents.example.com"
        )


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text in quotes",
    "array": "a list",
    "object": "a table",
}


def _meant(text: str) -> str:
    """Say in words which kind of value msgspec expected, where it got another kind."""
    wanted = re.match(r"Expected `(\w+)(?: \| null)?`, got", text)
    kind = _KINDS.get(wanted[1]) if wanted is not None else None
    return f": write {kind}" if kind else ""


def _flag(name: str) -> str:
    return f"--set {name}" if "." in name else "--" + name.replace("_", "-")


def _line_of(name: str, text: str) -> str:
    """Return ", line N" of a setting in the text of a TOML file; empty if it is not to be found,
    as in an inline table."""
    group, _, leaf = name.rpartition(".")
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line)
        if header is not None:
            table = re.sub(r"[\s\"']", "", header[1])
            continue
        key = re.match(r"\s*([\w.\"'-]+)\s*=", line)
        if key is None:
            continue
        whole = f"{table}.{key[1]}".replace('"', "").replace("'", "").replace("-", "_")
        if whole == ".".join(filter(None, ("greenroom", group, leaf))):
            return f", line {number}"
    return ""


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        parsed = tomllib.loads(text)
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # Names that the parser quotes may be secrets in the wrong place.
        detail = re.sub(r"\(('.*'),?\)", "a name", str(error))
        raise SettingsError(f"{path} is not valid TOML: {detail}") from None
    table = parsed.get("greenroom")
    if not isinstance(table, dict):
        raise SettingsError(f"{path} has no [greenroom] table; put the settings under one")
    return text, table


def _flatten(table: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        name = name.replace("-", "_")
        if name in GROUPS and isinstance(value, dict):
            flat |= {f"{name}.{leaf.replace('-', '_')}": inner for leaf, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    known = names()
    values: dict[str, str] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in RESERVED:
            continue
        if _ORCHESTRATOR.fullmatch(variable) or ("://" in value and variable == "GREENROOM_PORT"):
            continue
        if variable not in known:
            raise SettingsError(
                f"environment variable {shown(variable)}: {unknown(variable, known, GROUPS)}"
            )
        values[known[variable]] = value
    return values


def _merge(values: dict[str, Any], layer: Mapping[str, object], source: str) -> None:
    known = {name: name for name in names().values()}
    for name, value in layer.items():
        group = GROUPS.get(name)
        if group is not None:
            if isinstance(value, group):
                value = {leaf: getattr(value, leaf) for leaf in group.__struct_fields__}
            if not isinstance(value, Mapping):
                raise SettingsError(
                    f"setting {name!r} in {source}: it is a group of settings; write one of them, "
                    f"such as {next(one for one in known if one.startswith(name + '.'))}"
                )
            _merge(values, {f"{name}.{leaf}": one for leaf, one in value.items()}, source)
            continue
        if name not in known:
            raise SettingsError(
                f"setting {shown(name)} in {source}: {unknown(name, known, GROUPS)}"
            )
        values[name] = _split(name, value)


def _split(name: str, value: object) -> object:
    """Lists and mappings (``a=1,b=2``) are written with commas where only text can be written, and
    ``none`` where nothing may be set; but for who may call: a mistake there must not let all in."""
    group, _, leaf = name.rpartition(".")
    kind = get_type_hints(GROUPS[group] if group else Settings)[leaf]
    if isinstance(value, str) and get_origin(kind) is Literal:
        return value.lower()
    if value in _UNSET and NoneType in get_args(kind) and group != "auth":
        return None
    if isinstance(value, str) and getattr(kind, "__origin__", None) in (tuple, list, frozenset):
        return [item.strip() for item in value.split(",") if item.strip()]
    if isinstance(value, str) and getattr(kind, "__origin__", None) is Mapping:
        pairs = [item.partition("=") for item in value.split(",") if item.strip()]
        if not all(equals for _, equals, _ in pairs):
            # Not even the part in front of "=": what was meant as the value may stand there.
            raise SettingsError(f"setting {name}: write {_EXAMPLES.get(name, 'name=value')}")
        listed = get_args(kind)[1] is not str and get_args(kind)[1] is not float
        return {name.strip(): text.split() if listed else text for name, _, text in pairs}
    return value
