"""The command line: ``greenroom serve``, ``send``, ``tasks``, ``keys``, ``card`` and ``settings``.

Exit codes of ``send``: 0 the task completed or an answer came, 1 it ended otherwise (failed,
canceled, rejected), 2 it was asked wrongly, 3 the server cannot be reached or refused, 4 the task
waits for input, 130 Ctrl-C, 141 nobody reads what is printed (`| head`).
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..settings.names import PREFIX
from ..settings.settings import GROUPS, Settings, SettingsError, load, names, options
from . import card, contexts, keys, push, tasks
from . import settings as explain
from . import tls as connecting
from .parser import Parser
from .remote import commands as remote
from .remote import options as remote_options
from .terminal import complain

EPILOG = f"""\
Every option is also an environment variable ({PREFIX}PORT=8080) and a key of the [greenroom] table
of a TOML file (--config); the command line wins over the environment, that over the file. Limits
and times of HTTP and of the runtime have no flag: --set runtime.idle=30, {PREFIX}RUNTIME_IDLE=30,
or a table [greenroom.runtime]. `greenroom settings` tells what each means (docs/settings.md):
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parsed = _parser().parse_args(arguments)
    try:
        code = _run(parsed, arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads has enough. What is still in the buffer must not fail at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    if parsed.command == "serve":
        return _serve(parsed, arguments)
    if parsed.command == "send":
        return _send(parsed, arguments)
    code: int = parsed.run(parsed)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="greenroom", description="Serve agents over A2A, and talk to any A2A agent."
    )
    parser.add_argument("--version", action="version", version=f"greenroom {version('greenroom')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_send(commands)
    for module in (keys, card, tasks, contexts, push, explain):
        module.add(commands)
    remote.add_task(commands)
    remote.add_auth(commands)
    return parser


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve one or more agents",
        description="Serve agents over JSON-RPC, REST and SSE, with their cards.",
        epilog=EPILOG + _nested(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.elsewhere = {
        "--" + leaf.replace("_", "-"): f"--set {group}.{leaf}=..."
        for group, _, leaf in (name.rpartition(".") for name in names().values())
        if group
    }
    serve.add_argument(
        "agents",
        nargs="*",
        metavar="MODULE:AGENT",
        help="an agent: package.module:attribute or path/to/file.py:attribute; "
        "the first one is also served at the root",
    )
    serve.add_argument("--config", metavar="FILE", help="TOML file with a [greenroom] table")
    serve.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"any other setting, of the groups {', '.join(GROUPS)}; can be repeated",
    )
    for option in options():
        if option.name == "agents":
            continue
        flag = "--" + option.name.replace("_", "-")
        shown = "" if option.default is None else f" (default: {option.default})"
        extra: dict[str, Any] = {"default": None, "help": option.description + shown}
        if option.type is bool:
            extra["action"] = argparse.BooleanOptionalAction
        elif option.choices:
            extra["choices"] = option.choices
            extra["type"] = str.lower
        else:
            extra["metavar"] = option.takes
        serve.add_argument(flag, **extra)


def _nested() -> str:
    """The settings without a flag, a paragraph for each group."""
    listed: dict[str, list[str]] = {}
    for name in names().values():
        group, dot, leaf = name.rpartition(".")
        if dot:
            listed.setdefault(group, []).append(leaf)
    return "\n".join(
        textwrap.fill(
            f"{group}. {' '.join(leaves)}", 96, initial_indent="  ", subsequent_indent="    "
        )
        for group, leaves in listed.items()
    )


def _add_send(commands: Any) -> None:
    send = commands.add_parser(
        "send",
        help="send a text to an agent and print what it answers",
        description="Send a text to any A2A agent (1.0 or 0.3) and print what it answers.",
        epilog=(__doc__ or "").partition("\n\n")[2],
    )
    send.intermixed = True
    send.add_argument("url", nargs="?", help="address of the agent, or of its card")
    send.add_argument("text", nargs="?", help="what to say; - reads standard input")
    send.add_argument("--stream", action="store_true", help="print the answer as it is made")
    send.add_argument("--task", metavar="ID", help="the task that the message continues")
    send.add_argument("--context", metavar="ID", help="the context that the message belongs to")
    remote_options.add_agent(send)
    remote_options.add_send(send)
    remote_options.remember(send)
    send.add_argument(
        "--version", choices=("1.0", "0.3"), help="protocol version (default: the newest offered)"
    )
    send.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="a header for the server of the address, and for no other; can be repeated",
    )
    send.add_argument(
        "--header-origin",
        action="append",
        default=[],
        metavar="URL",
        help="another server that gets the headers, if the card names it; can be repeated",
    )
    send.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="longest time for all of it (default: 300)",
    )
    connecting.add(send)
    many: dict[str, Any] = {"action": "append", "default": []}
    send.add_argument(
        "--trust-key", metavar="FILE", help="talk only to agents whose card this key signed", **many
    )
    send.add_argument("--trust-jwks", metavar="FILE_OR_URL", help="… or one of this set", **many)
    send.add_argument(
        "--trust-host", metavar="HOST", help="… or one that this host publishes", **many
    )


def _serve(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    from ..app import start
    from ..loading import LoadError, load_agents
    from ..runtime.journal.store import StoreError
    from ..transports.errors import ServerError

    try:
        settings = _settings(parsed)
        if settings.reload:
            return _reload(arguments, settings.agents)
        start(load_agents(settings.agents), settings, alone=True)
    except (SettingsError, LoadError, ServerError, StoreError) as error:
        return complain(str(error))
    return 0


def _settings(parsed: argparse.Namespace) -> Settings:
    overrides: dict[str, object] = {
        option.name: value
        for option in options()
        if (value := getattr(parsed, option.name)) not in (None, [])
    }
    for number, assignment in enumerate(parsed.set, 1):
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"the --set number {number} has no value: write NAME=VALUE")
        overrides[name.strip()] = value.strip()
    return load(config=parsed.config, environ=os.environ, overrides=overrides, flags=True)


def _reload(arguments: Sequence[str], agents: Sequence[str]) -> int:
    from ..loading import source_folders
    from .reload import watch

    return watch([*arguments, "--no-reload"], [Path.cwd(), *source_folders(agents)])


def _send(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    if parsed.text is None:
        if not parsed.agent_card:
            return complain("write: greenroom send URL TEXT, or: greenroom send -a URL --text TEXT")
        parsed.text, parsed.run = parsed.url, remote.run
        return remote.run(parsed)
    if ignored := remote_options.ignored(parsed):
        return complain(
            f"{ignored} does not go with an address without -a: "
            "write: greenroom send -a URL --text TEXT, and the option"
        )
    from .send import send

    return send(parsed)
