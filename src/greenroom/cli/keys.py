"""``greenroom keys``: API keys for the file that ``auth.keys_file`` names."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

from ..runtime.security.schemes.api_keys import ApiKey, KeyFile, new_key
from ..runtime.security.schemes.basic import hash_password
from ..runtime.settings.bounds import check_scopes
from ..settings.auth_checks import check_name
from .terminal import complain, note, say

_LONGEST = 100 * 365 * 86_400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add(commands: Any) -> None:
    """Add the command to the command line."""
    keys = commands.add_parser("keys", help="make, list and revoke API keys")
    keys.set_defaults(run=run)
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key and print it, once")
    create.add_argument("owner", help="who gets it: owns the tasks made with it")
    create.add_argument("--tenant", default="", help="the tenant that the owner belongs to")
    create.add_argument("--scope", action="append", default=[], help="can be repeated")
    create.add_argument("--expires", metavar="TIME", help="how long it works: 90d, 12h, 30m")
    listed = actions.add_parser("list", help="list the keys, without their secrets")
    revoke = actions.add_parser("revoke", help="make a key work no longer")
    revoke.add_argument("id", help="as `list` shows it")
    for action in (create, listed, revoke):
        action.add_argument(
            "--file", default="keys.json", help="the file of keys (default: keys.json)"
        )
    actions.add_parser("hash", help="hash a password for auth.users, read from standard input")


def run(parsed: argparse.Namespace) -> int:
    """Carry the command out; return the exit code."""
    if parsed.action == "hash":
        text = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        if not text:
            return complain("no password was given: an empty one is known to everybody")
        return _say(hash_password(text))
    file = KeyFile(parsed.file)
    try:
        if parsed.action == "create":
            return _create(file, parsed)
        if parsed.action == "list":
            for line in [_line(key) for key in file.read()] or ["no keys"]:
                say(line)
            return 0
        revoked = file.revoke(parsed.id, time.time())
    except (ValueError, OSError) as error:
        return complain(str(error))
    if revoked is None:
        return complain(f"there is no key {parsed.id} in {parsed.file}")
    return _say(f"revoked {revoked.id} of {revoked.owner}: a running server refuses it in a second")


def _create(file: KeyFile, parsed: argparse.Namespace) -> int:
    check_name(parsed.owner, "the owner")
    if parsed.tenant:
        check_name(parsed.tenant, "the tenant")
    check_scopes(parsed.scope, "--scope")
    key, text = new_key(
        parsed.owner,
        now=time.time(),
        tenant=parsed.tenant,
        scopes=parsed.scope,
        lifetime=None if parsed.expires is None else _seconds(parsed.expires),
    )
    file.add(key)
    note(f"key {key.id} of {key.owner}; it is shown this once:")
    return _say(text)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,10})([smhd])", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match is not None else 0
    if not 0 < seconds <= _LONGEST:
        raise ValueError(
            f"--expires {text}: write a number and s, m, h or d, such as 90d; without it a key "
            "does not expire"
        )
    return seconds


def _line(key: ApiKey) -> str:
    state = "ok" if key.usable(time.time()) else "revoked" if key.revoked else "expired"
    until = "" if key.expires is None else f" until {_date(key.expires)}"
    tenant = f" tenant={key.tenant}" if key.tenant else ""
    scopes = f" scopes={','.join(key.scopes)}" if key.scopes else ""
    return f"{key.id}  {state:<8}{key.owner}{tenant}{scopes}  since {_date(key.created)}{until}"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _say(line: str) -> int:
    say(line)
    return 0
