"""Combines schemes as OpenAPI does: any one requirement suffices, with all its schemes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import structs

from ....protocol.errors import PermissionDeniedError, UnavailableError
from ....protocol.types import SecurityRequirement, SecurityScheme, StringList
from ...call import Call, Principal
from .bearer import Bearer
from .credential_cache import CredentialCache
from .ports import InvalidCredential, Scheme, UnknownCredential, refuse, unexpected

_Outcome = Principal | InvalidCredential | UnavailableError | None
Requirement = Mapping[str, Sequence[str]]
"""Names of schemes that must all hold, each with the scopes that its credential must have."""
_PASSED = 5.0
"""Seconds for which the gate passes over a credential that was refused, or that nobody could judge,
where another credential let its caller in. It is short, because the credential may hold soon."""
_TOLD = 3600.0
"""Seconds for which such a credential is not counted again, and one that held is no guess."""


class Combination:
    """An ``Authenticator`` over schemes. Without ``require`` any one of them suffices.

    The first alternative that holds counts, whatever else the caller shows. Where an alternative
    has several schemes, the first says who the caller is, and the others only have to hold. The
    caller has the scopes of all of them. A scheme that cannot tell at the moment leaves the
    decision to the others.
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
        bearers = [scheme for scheme in schemes if isinstance(scheme, Bearer)]
        self._strangers = {
            one.name: [
                other
                for other in bearers
                if not any(one.name in some and other.name in some for some in wanted)
            ]
            for one in bearers
        }
        self._passed: CredentialCache[bool] = CredentialCache()
        self._told: CredentialCache[bool] = CredentialCache()
        self._held: CredentialCache[bool] = CredentialCache()
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
        """Return what ``authenticate`` would, or ``None`` where that takes looking: who owns a task
        must not depend on which of a caller's credentials happens to be remembered."""
        for requirement in self._wanted:
            first: Principal | None = None
            unseen: list[Scheme] = []
            enough = True
            for scheme, scopes in requirement:
                principal = scheme.known(call, now)
                if principal is not None:
                    first = principal if first is None else _joined(first, principal)
                    enough = enough and scopes <= principal.scopes
                elif (key := scheme.credential(call)) is None or self._passed.get(
                    _named(scheme, key), now
                ):
                    break  # it was not asked for with this alternative, or refused a while ago
                else:
                    unseen.append(scheme)
            else:
                if unseen:
                    return None
                if enough:
                    return first
        return None

    def held(self, call: Call, now: float) -> bool:
        """See ``Authenticator.held``. A credential that was refused beside one that held is not
        counted as a guess again."""
        shown = {scheme.credential(call) for scheme in self._schemes.values()} - {None}
        held = {key for key in shown if key is not None and self._held.get(key, now)}
        return bool(held) and all(self._told.get(key, now) for key in shown - held if key)

    async def authenticate(self, call: Call, now: float) -> Principal:
        tried: dict[str, _Outcome] = {}
        call.refused = ()
        lacking: frozenset[str] | None = None
        for requirement in self._wanted:
            first: Principal | None = None
            missing: frozenset[str] = frozenset()
            for scheme, scopes in requirement:
                if scheme.name not in tried:
                    tried[scheme.name] = await self._try(scheme, call, now)
                outcome = tried[scheme.name]
                if not isinstance(outcome, Principal):
                    break
                missing |= scopes - outcome.scopes
                first = outcome if first is None else _joined(first, outcome)
            else:
                if not missing:
                    assert first is not None
                    self._remember(call, tried, now)
                    call.refused = self._guesses(call, tried, now)
                    return first
                lacking = missing if lacking is None else lacking
        # Whoever cannot tell might have let the call pass: it is to be tried again.
        for outcome in tried.values():
            if isinstance(outcome, UnavailableError):
                call.refused = self._guesses(call, tried, now)
                raise outcome
        if lacking is not None:
            raise insufficient(lacking)
        refused = {
            name: outcome
            for name, outcome in tried.items()
            if isinstance(outcome, InvalidCredential)
        }
        for name in refused:
            if (key := self._schemes[name].credential(call)) is not None:
                self._held.drop(key)
        # Who knows the credential says what is wrong with it; to the others it says nothing.
        judged = {
            name: one for name, one in refused.items() if not isinstance(one, UnknownCredential)
        }
        reasons = {name: str(one) for name, one in (judged or refused).items()}
        raise refuse(
            f"The credentials were refused: {'; '.join(dict.fromkeys(reasons.values()))}"
            if reasons
            else f"Authentication is required: {', '.join(self._schemes)}",
            [one.challenge(reasons.get(one.name)) for one in self._schemes.values()],
        )

    async def _try(self, scheme: Scheme, call: Call, now: float) -> _Outcome:
        # A token that names its issuer is shown to nobody else, who could use it there, unless the
        # operator wants it judged by both.
        strangers = self._strangers.get(scheme.name, ())
        if any(other.recognises(call) for other in strangers) and not _recognises(scheme, call):
            return None
        try:
            return await scheme.verify(call, now)
        except (InvalidCredential, UnavailableError) as error:
            return error
        except PermissionDeniedError:
            raise
        except Exception as error:
            return unexpected(error, f"the security scheme {scheme.name!r}")

    def _guesses(self, call: Call, tried: Mapping[str, _Outcome], now: float) -> tuple[str, ...]:
        """Return why credentials were refused, each once, but for those that another scheme, which
        may be the one that they are for, took or cannot judge."""
        reasons: dict[bytes, str] = {}
        good: set[bytes | None] = set()
        for name, outcome in tried.items():
            key = self._schemes[name].credential(call)
            if not isinstance(outcome, InvalidCredential):
                good.add(key)
            elif key is not None:
                reasons[key] = str(outcome)
        fresh = {key: why for key, why in reasons.items() if not self._told.get(key, now)}
        for key in fresh.keys() - good:
            self._told.put(key, True, now + _TOLD)
        return tuple(why for key, why in fresh.items() if key not in good)

    def _remember(self, call: Call, tried: Mapping[str, _Outcome], now: float) -> None:
        """Let ``known`` pass over credentials that did not hold, where another alternative held."""
        for name, outcome in tried.items():
            if (key := self._schemes[name].credential(call)) is None:
                continue
            if isinstance(outcome, Principal):
                self._held.put(key, True, now + _TOLD)
            else:
                self._passed.put(_named(self._schemes[name], key), True, now + _PASSED)


def _recognises(scheme: Scheme, call: Call) -> bool:
    return isinstance(scheme, Bearer) and scheme.recognises(call)


def _named(scheme: Scheme, credential: bytes) -> bytes:
    return scheme.name.encode() + b"\0" + credential


def _joined(first: Principal, also: Principal) -> Principal:
    if also is first:
        return first
    ends = [one.expires for one in (first, also) if one.expires is not None]
    return structs.replace(
        first,
        scopes=first.scopes | also.scopes,
        tenant=first.tenant or also.tenant,
        expires=min(ends, default=None),
        proven={**first.proven, **also.proven},
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
