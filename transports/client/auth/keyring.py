"""Which credentials an agent gets: as its card requires, and only at the origins of the user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ....protocol.types import AgentCard, SecurityScheme
from ..http import HttpClient
from ..requests import Outgoing
from ..urls import Origin, origin_of
from .credential import Binding, Credential, Prover

_Chosen = tuple[Credential, SecurityScheme | None, tuple[str, ...]]


class Keyring:
    """The credentials of one client. ``Peer`` asks it for each request."""

    def __init__(
        self,
        given: Sequence[Credential] | Mapping[str, Credential],
        url: str,
        origins: frozenset[Origin],
        http: HttpClient,
    ) -> None:
        """``given`` may be named by the schemes of the card. ``origins`` are those of the user,
        who typed ``url``."""
        self._given = given
        self._origin = str(origin_of(url))
        self._origins = origins
        self._http = http
        self._provers: list[Prover] = []
        self.choose(None)

    def choose(self, card: AgentCard | None) -> None:
        """Take the credentials that ``card`` requires: of its alternatives the first that can be
        met. Where none can, or there is no card yet, take all that the user gave."""
        credentials = self._given.values() if isinstance(self._given, Mapping) else self._given
        chosen = _chosen(card, self._given) if card is not None else None
        if chosen is None:
            chosen = [(credential, None, ()) for credential in credentials]
        self._provers = [
            credential.bind(
                Binding(
                    origin=self._origin,
                    http=self._http,
                    trusted=self.trusts,
                    scheme=scheme,
                    scopes=scopes,
                )
            )
            for credential, scheme, scopes in chosen
        ]

    def trusts(self, url: str) -> bool:
        """Return whether ``url`` is of an origin that the user configured."""
        return origin_of(url) in self._origins

    async def authorize(self, request: Outgoing) -> None:
        """See ``peer.Authorizer``."""
        if self.trusts(request.url):
            for prover in self._provers:
                await prover.apply(request)

    async def refused(self, request: Outgoing, status: int, challenge: str) -> bool:
        """See ``peer.Authorizer``."""
        if not self.trusts(request.url):
            return False
        again = [await prover.refused(request, status, challenge) for prover in self._provers]
        return any(again)


def _chosen(
    card: AgentCard, given: Sequence[Credential] | Mapping[str, Credential]
) -> list[_Chosen] | None:
    schemes = card.security_schemes or {}
    # An empty alternative is "no credentials": whoever has some wants to be known.
    alternatives = sorted(card.security_requirements or [], key=lambda one: not one.schemes)
    for requirement in alternatives:
        chosen: list[_Chosen] = []
        for name, scopes in requirement.schemes.items():
            scheme = schemes.get(name)
            credential = None if scheme is None else _for(name, scheme, given)
            if credential is None:
                break
            chosen.append((credential, scheme, tuple(scopes.list)))
        else:
            return chosen
    return None


def _for(
    name: str, scheme: SecurityScheme, given: Sequence[Credential] | Mapping[str, Credential]
) -> Credential | None:
    if isinstance(given, Mapping):
        return given.get(name)
    fitting: Iterable[Credential] = (one for one in given if one.fits(scheme))
    return next(iter(fitting), None)
