"""What an operator decides about callers, in one object: hand it to ``Runtime``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from msgspec import Struct

from ...protocol.jose import SigningKey
from ...protocol.operations import OPERATIONS
from .audit import AuditSink
from .schemes.combination import Combination, Requirement
from .schemes.ports import Authenticator, Scheme


class Policy(Struct, frozen=True, kw_only=True):
    """Scopes that a caller needs, beside those of the skill that it asks for."""

    agents: Mapping[str, Sequence[str]] = {}
    """By the agent's slug, for everything asked of it."""
    operations: Mapping[str, Sequence[str]] = {}
    """By the operation's name (``CancelTask``), of every agent. What holds of ``SendMessage`` holds
    of ``SendStreamingMessage``, where that is not named."""


class Security:
    """Schemes, how they combine, what they permit, and what is written down about it.

        Security(ApiKeys("keys.json"), audit=FileAudit("audit.jsonl"))

    ``require`` lists alternatives, each naming schemes that must all hold (``[{"oidc": []},
    {"apiKey": [], "mtls": []}]``); without it any one scheme suffices. Without schemes everybody is
    the same anonymous caller. ``authenticator`` takes the place of schemes. ``signing`` keys sign
    the agents' cards.
    """

    def __init__(
        self,
        *schemes: Scheme,
        require: Sequence[Requirement] | None = None,
        authenticator: Authenticator | None = None,
        policy: Policy | None = None,
        audit: AuditSink | None = None,
        signing: Sequence[SigningKey] = (),
    ) -> None:
        if schemes and authenticator is not None:
            raise ValueError("give either schemes or an authenticator of your own")
        if require and not schemes:
            raise ValueError("require names schemes, and there are none")
        self.schemes = schemes
        if schemes:
            authenticator = Combination(schemes, require)
        self.authenticator = authenticator
        self.policy = policy or Policy()
        unknown = set(self.policy.operations) - {operation.name for operation in OPERATIONS}
        if unknown:
            raise ValueError(
                f"policy (auth.operations): there is no operation {sorted(unknown)[0]}; there are "
                f"{', '.join(operation.name for operation in OPERATIONS)}"
            )
        if authenticator is None and (self.policy.agents or self.policy.operations):
            raise ValueError(
                "policy (auth.agents, auth.operations): scopes need a security scheme that says "
                "who has them"
            )
        self.audit = audit
        self.signing = tuple(signing)

    @property
    def background(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What the schemes ask to run as long as the server does (an attribute of that name)."""
        return [run for scheme in self.schemes for run in getattr(scheme, "background", ())]

    @property
    def anonymous(self) -> bool:
        """Nobody is asked who they are."""
        return self.authenticator is None
