"""``greenroom task``, ``greenroom auth`` and ``greenroom card get``: the parsers alone."""

from __future__ import annotations

import argparse
from typing import Any

from .options import EPILOG, add, duration, option


def add_task(commands: Any) -> None:
    """Add ``task`` to the command line."""
    task = commands.add_parser(
        "task", help="read, follow, list and cancel the tasks of an agent elsewhere"
    )
    task.set_defaults(run=run)
    actions = task.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("get", "print a task; --wait: once it is over or waits for input"),
        ("cancel", "cancel a task and print it"),
        ("subscribe", "print the events of a task until it is over"),
    ):
        action = actions.add_parser(name, help=text, epilog=EPILOG)
        action.add_argument("id", help="of the task")
        add(action)
        if name == "get":
            option(action, "--history", type=int, metavar="N", help="messages that come with it")
            action.add_argument("--wait", action="store_true", help="wait for the end")
            option(action, "--poll-interval", type=duration, metavar="TIME", help="default: 2s")
        elif name == "subscribe":
            action.add_argument("--stream", action="store_true", help="it always does")
    listed = actions.add_parser("list", help="print the caller's tasks", epilog=EPILOG)
    add(listed)
    option(listed, "--context-id", metavar="ID", help="of one context")
    option(listed, "--limit", type=int, default=50, metavar="N", help="default: 50")


def add_auth(commands: Any) -> None:
    """Add ``auth`` to the command line."""
    auth = commands.add_parser("auth", help="get a token for an agent elsewhere")
    auth.set_defaults(run=run)
    actions = auth.add_subparsers(dest="action", required=True, metavar="ACTION")
    login = actions.add_parser(
        "login",
        help="sign in and keep the token for the commands",
        epilog=EPILOG + " The endpoints come from --token-url or --issuer, or from the card where "
        "they are of the agent's own origin.",
    )
    add(login)
    option(login, "--client-id", required=True, metavar="ID", help="of this program at the server")
    option(login, "--client-secret", metavar="SECRET", help="better in the environment")
    option(login, "--flow", choices=("device", "browser", "client"), default="device",
           help="how to sign in (default: device)")  # fmt: skip
    option(login, "--scope", many=True, metavar="SCOPE", help="can be repeated")
    option(login, "--token-url", default="", metavar="URL", help="the token endpoint")
    option(login, "--device-url", default="", metavar="URL", help="the device endpoint")
    option(login, "--authorization-url", default="", metavar="URL", help="where people sign in")
    option(login, "--issuer", default="", metavar="URL", help="of an OpenID provider")


def run(parsed: argparse.Namespace) -> int:
    """Carry the command out; return the exit code."""
    # The HTTP client takes a fifth of a second to import: `greenroom serve` starts without it.
    from .actions import run as carry_out

    return carry_out(parsed)
