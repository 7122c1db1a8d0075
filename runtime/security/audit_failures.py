"""The audit entries of requests that never become an operation."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from ...protocol.errors import A2AError, UnauthenticatedError
from ...protocol.operations import Operation
from ..call import ANONYMOUS, Call, Principal
from .audit import AUTHENTICATE, LONGEST, REQUEST, AuditEntry, outcome_of
from .policy import Security


class EntriesOfFailures:
    """Makes the entries; ``now`` returns the time in seconds of the epoch."""

    def __init__(self, security: Security, now: Callable[[], float]) -> None:
        self._security = security
        self._now = now

    def refusal(self, call: Call, error: A2AError, principal: Principal | None) -> AuditEntry:
        """Return the entry of a request that was refused before its operation was known."""
        guess = isinstance(error, UnauthenticatedError) and self._shows_credential(call)
        entry = self._entry(call, AUTHENTICATE, error.reason, principal or call.principal)
        return structs.replace(entry, detail=error.message[:LONGEST], guess=guess)

    def request(
        self, call: Call, error: Exception, operation: Operation | None, outcome: str
    ) -> AuditEntry:
        """Return the entry of a request that could not be read.

        The entry has no message of ``error``, which may quote the request.
        """
        action = REQUEST if operation is None else operation.name
        principal = call.principal or (ANONYMOUS if self._security.anonymous else None)
        return self._entry(call, action, outcome or outcome_of(error), principal)

    def _entry(
        self, call: Call, action: str, outcome: str, principal: Principal | None
    ) -> AuditEntry:
        return AuditEntry(
            time=self._now(), action=action, outcome=outcome,
            owner=principal.owner if principal else "",
            tenant=principal.tenant if principal else "",
            scheme=principal.scheme if principal else "",
            agent=call.agent[:LONGEST], address=call.peer[:LONGEST],
            binding=call.binding, version=call.version[:LONGEST],
        )  # fmt: skip

    def _shows_credential(self, call: Call) -> bool:
        """Whether a call has a credential of a scheme, be it good or not."""
        schemes = self._security.schemes
        if not schemes:  # an authenticator of the operator's own
            return bool(call.headers.get("authorization") or call.certificate)
        return any(scheme.credential(call) is not None for scheme in schemes)
