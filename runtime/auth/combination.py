"""Schemes combined as OpenAPI does: any one of the requirements, all schemes of that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs

from ...protocol.errors import PermissionDeniedError
from ...protocol.types import SecurityRequirement, SecurityScheme, StringList
from ..call import Call, Principal
from .ports import Rejected, Scheme, refuse

Requirement = Mapping[str, Sequence[str]]
"""Names of schemes that must all hold, each with the scopes that its credential must have."""


class Combination:
    """``Authenticator`` over schemes. Without ``require`` any one of them suffices.

    Where a requirement has several schemes, the first says who the caller is and the others only
    have to hold; scopes are those of all of them.
    """

    def __init__(
        self, schemes: Sequence[Scheme], require: Sequence[Requirement] | None = None
    ) -> None:
        self._schemes = {scheme.name: scheme for scheme in schemes}
        if len(self._schemes) != len(schemes):
            raise ValueError("two security schemes have the same name; give one another name=")
        wanted = [{scheme.name: ()} for scheme in schemes] if require is None else require
        if not wanted or not all(wanted):
            raise ValueError(
                "a requirement names no scheme, so nothing would be required: leave security out "
                "to serve anonymously"
            )
        for requirement in wanted:
            for name in requirement:
                if name not in self._schemes:
                    raise ValueError(
                        f"there is no security scheme {name!r}; there are: "
                        f"{', '.join(self._schemes)}"
                    )
        used = {name for requirement in wanted for name in requirement}
        if unused := set(self._schemes) - used:
            raise ValueError(f"security schemes that nothing requires: {', '.join(sorted(unused))}")
        self._wanted = [
            [(self._schemes[name], frozenset(scopes)) for name, scopes in requirement.items()]
            for requirement in wanted
        ]
        self.schemes: Mapping[str, SecurityScheme] = {
            name: scheme.card for name, scheme in self._schemes.items()
        }
        self.requirements: Sequence[SecurityRequirement] = [
            SecurityRequirement(
                schemes={name: StringList(list=list(scopes)) for name, scopes in one.items()}
            )
            for one in wanted
        ]

    def known(self, call: Call, now: float) -> Principal | None:
        for requirement in self._wanted:
            first: Principal | None = None
            for scheme, scopes in requirement:
                found = scheme.known(call, now)
                if found is None or not scopes <= found.scopes:
                    break
                first = found if first is None else _joined(first, found)
            else:
                return first
        return None

    async def authenticate(self, call: Call, now: float) -> Principal:
        results: dict[str, Principal | None] = {}
        reasons: dict[str, str] = {}
        lacking: frozenset[str] | None = None
        for requirement in self._wanted:
            first: Principal | None = None
            missing: frozenset[str] = frozenset()
            for scheme, scopes in requirement:
                if scheme.name not in results:
                    try:
                        results[scheme.name] = await scheme.verify(call, now)
                    except Rejected as rejected:
                        results[scheme.name] = None
                        reasons[scheme.name] = str(rejected)
                found = results[scheme.name]
                if found is None:
                    break
                missing |= scopes - found.scopes
                first = found if first is None else _joined(first, found)
            else:
                if not missing:
                    assert first is not None
                    return first
                lacking = missing if lacking is None else lacking
        if lacking is not None:
            raise insufficient(lacking)
        raise refuse(
            f"The credentials were refused: {'; '.join(dict.fromkeys(reasons.values()))}"
            if reasons
            else f"Authentication is required: {', '.join(self._schemes)}",
            [one.challenge(reasons.get(one.name)) for one in self._schemes.values()],
        )


def _joined(first: Principal, also: Principal) -> Principal:
    if also is first:
        return first
    ends = [one.expires for one in (first, also) if one.expires is not None]
    return structs.replace(
        first,
        scopes=first.scopes | also.scopes,
        tenant=first.tenant or also.tenant,
        expires=min(ends, default=None),
    )


def insufficient(scopes: frozenset[str]) -> PermissionDeniedError:
    """Return the error that names the missing scopes (RFC 6750 section 3.1)."""
    named = " ".join(sorted(scopes))
    return PermissionDeniedError(
        f"Missing scope: {named}",
        headers={
            "WWW-Authenticate": 'Bearer realm="greenroom", error="insufficient_scope", '
            f'scope="{named}"'
        },
        requiredScope=named,
    )
