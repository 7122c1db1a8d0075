"""``greenroom card``: show, sign and verify agent cards.

Exit codes of ``verify``: 0 a signature can be believed, 1 none can, 2 asked wrongly, 3 the card or
the keys cannot be had.
"""

from __future__ import annotations

import argparse
from typing import Any

from . import tls as connecting
from .remote.commands import run as remote
from .remote.options import EPILOG
from .remote.options import add as add_options


def add(commands: Any) -> None:
    """Add the command to the command line."""
    card = commands.add_parser("card", help="show, sign and verify agent cards")
    card.set_defaults(run=run)
    actions = card.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print a card in its 1.0 form, and who signed it")
    sign = actions.add_parser("sign", help="sign a card and print it")
    verify = actions.add_parser("verify", help="say whether a signature can be believed")
    got = actions.add_parser(
        "get", help="print what the card of an agent elsewhere says", epilog=EPILOG
    )
    add_options(got)
    got.add_argument("--extended", action="store_true", help="the card for callers it knows")
    for action in (show, sign, verify):
        action.add_argument("card", help="a file, - for standard input, or the agent's address")
        connecting.add(action, key="--cert-key")
    sign.add_argument("--key", required=True, metavar="FILE", help="private key (PEM)")
    sign.add_argument("--kid", default="", help="name of the key (default: its thumbprint)")
    sign.add_argument("--alg", default="", help="ES256, RS256, PS256 or EdDSA (default: the key's)")
    sign.add_argument("--jku", metavar="URL", help="where the public key is published")
    sign.add_argument(
        "--sdk-form",
        action="store_true",
        help="also sign the official SDK's canonical form where it differs, for clients that "
        "verify with it; it does not protect empty members, such as a requirement without scopes",
    )
    many: dict[str, Any] = {"action": "append", "default": []}
    verify.add_argument(
        "--key", metavar="FILE", help="trusted key or certificate (PEM); FILE=KID names it", **many
    )
    verify.add_argument("--jwks", metavar="FILE_OR_URL", help="trusted key set", **many)
    verify.add_argument(
        "--trust-host", metavar="HOST", help="follow the card's own https jku at this host", **many
    )
    verify.add_argument(
        "--accept-sdk-form",
        action="store_true",
        help="also believe signatures over the official SDK's canonical form, which does not "
        "protect empty members of the card",
    )


def run(parsed: argparse.Namespace) -> int:
    """Carry the command out; return the exit code."""
    if parsed.action == "get":
        return remote(parsed)
    # The HTTP client takes a quarter of a second to import: `greenroom serve` starts without it.
    from .card_actions import run as carry_out

    return carry_out(parsed)
