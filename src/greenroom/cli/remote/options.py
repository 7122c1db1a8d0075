"""The options that the commands share; each but ``--stream`` may be an environment variable.

``--agent-card`` is ``A2ACLI_AGENT_CARD``, and so on. The command line wins over the environment.
"""

from __future__ import annotations

import argparse
import os
import re
from typing import Any

from .. import tls as connecting

PREFIX = "A2ACLI_"
EPILOG = f"""\
Every option but --stream is also an environment variable: {PREFIX}AGENT_CARD, {PREFIX}BEARER. Exit
codes: 0 the command did its work, whatever became of the task; 1 it could not; 2 it is wrong; 3 the
agent or its card cannot be reached; 4 a credential is missing or refused; 5 the time-out is over.
"""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command."""
    add_agent(parser, required=True)
    option(
        parser, "--timeout", type=duration, metavar="TIME",
        help="longest time for all of it: 90s, 5m",
    )  # fmt: skip
    connecting.add(parser)


def add_agent(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add the options that say which agent, and how to talk to it."""
    group = parser.add_argument_group("the agent")
    option(
        group, "-a", "--agent-card", metavar="URL", required=required,
        help="address of the agent, or of its card",
    )  # fmt: skip
    option(group, "--bearer", metavar="TOKEN", help="a bearer token for the agent's own origin")
    option(group, "--api-key", metavar="KEY", help="an API key, put where the card says")
    option(
        group, "--svc-param", metavar="NAME:VALUE", many=True,
        help="a header (metadata over gRPC) of every request; can be repeated",
    )  # fmt: skip
    option(
        group, "--transport", metavar="BINDING", many=True,
        help="JSONRPC, HTTP+JSON or GRPC, the best one first; can be repeated",
    )  # fmt: skip
    option(
        group, "--a2a-version", choices=("1.0", "0.3"), help="default: the newest that is offered"
    )
    option(group, "-o", "--output", choices=("text", "json"), default="text", help="default: text")


def option(
    group: Any, *names: str, many: bool = False, required: bool = False, **more: Any
) -> None:
    """Add an option whose default is its environment variable, if that is set."""
    flag = names[-1]
    default = os.environ.get(PREFIX + flag.strip("-").upper().replace("-", "_"))
    if many:
        more |= {"action": "append", "default": [] if default is None else [default]}
    elif default is not None:
        more |= {"default": more["type"](default) if "type" in more else default}
    group.add_argument(*names, required=required and default is None, **more)


def duration(text: str) -> float:
    """Return the seconds of ``90``, ``90s``, ``1.5m``, ``200ms`` or ``1h``."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)?", text)
    seconds = float(match[1]) * _UNITS[match[2] or "s"] if match is not None else 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 5m or 1h")
    return seconds


def add_send(parser: argparse.ArgumentParser) -> None:
    """Add what ``send`` has when the agent is named with ``--agent-card``."""
    group = parser.add_argument_group("with --agent-card")
    for flag, metavar, text in (
        ("--text", "TEXT", "a text; can be repeated, as can --file and --data, in any order"),
        ("--file", "PATH", "a file that is sent whole, or an http URL that the agent fetches"),
        ("--data", "PATH", "a JSON file; - reads standard input"),
        ("--media-type", "TYPE", "the media type of the part before it"),
    ):
        group.add_argument(flag, dest="parts", action=_Part, default=[], metavar=metavar, help=text)
    option(group, "--task-id", metavar="ID", help="the task that the message continues")
    option(group, "--context-id", metavar="ID", help="the context that the message belongs to")
    option(group, "--metadata", metavar="JSON", help="metadata of the message: a JSON object")
    group.add_argument(
        "--async", dest="no_wait", action="store_true", help="do not wait for the task"
    )
    option(
        group, "--poll-interval", type=duration, metavar="TIME", help="where the agent is polled"
    )


_WITH_AGENT_CARD = {
    "agent_card": "--agent-card", "bearer": "--bearer", "api_key": "--api-key",
    "svc_param": "--svc-param", "transport": "--transport", "a2a_version": "--a2a-version",
    "output": "--output", "parts": "--text", "task_id": "--task-id", "context_id": "--context-id",
    "metadata": "--metadata", "no_wait": "--async", "poll_interval": "--poll-interval",
}  # fmt: skip
"""The options of ``send`` that mean nothing when the address is an argument."""


def remember(send: argparse.ArgumentParser) -> None:
    """Keep the values that the options have if nobody writes them on the command line."""
    send.set_defaults(unwritten={name: send.get_default(name) for name in _WITH_AGENT_CARD})


def ignored(parsed: argparse.Namespace) -> str:
    """Return the first written option that needs ``--agent-card``, or nothing."""
    for name, flag in _WITH_AGENT_CARD.items():
        if getattr(parsed, name) != parsed.unwritten[name]:
            return flag
    return ""


class _Part(argparse.Action):
    """Keeps the order of parts on the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        parts = [*getattr(namespace, self.dest), ((option_string or "").strip("-"), values)]
        setattr(namespace, self.dest, parts)
