"""Protected resource metadata (RFC 9728): whoever is refused learns where to get a token."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, json

from ...protocol.types import SecurityScheme
from ...runtime.runtime import Runtime
from ...runtime.security.schemes.bearer import Bearer

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class Metadata(Struct, omit_defaults=True):
    """Section 2."""

    resource: str
    resource_name: str
    authorization_servers: list[str] = []
    """Issuers; none where opaque tokens are taken and nobody said whose."""
    scopes_supported: list[str] = []
    bearer_methods_supported: list[str] = []


class ProtectedResource:
    """What clients of OAuth 2 need to know of each agent. False where no such token is taken."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        schemes = runtime.gate.card.schemes or {}
        self._scopes = {name: set(_scopes(one)) for name, one in schemes.items() if _oauth(one)}
        bearers = (one for one in runtime.gate.security.schemes if isinstance(one, Bearer))
        servers = dict.fromkeys(one.authorization_server for one in bearers)
        self._servers = [server for server in servers if server is not None]

    def __bool__(self) -> bool:
        return bool(self._scopes)

    def metadata(self, slug: str, url: str) -> bytes:
        """Return the document of an agent one of whose interfaces has the address ``url``."""
        agent = self._runtime.agents[slug]
        scopes = {scope for some in self._scopes.values() for scope in some}
        for requirement in self._runtime.gate.card.requirements(agent):
            for name in self._scopes.keys() & requirement.schemes.keys():
                scopes.update(requirement.schemes[name].list)
        document = Metadata(url, agent.name, self._servers, sorted(scopes), ["header"])
        return json.encode(document)


def _oauth(scheme: SecurityScheme) -> bool:
    return bool(scheme.oauth2_security_scheme or scheme.open_id_connect_security_scheme)


def _scopes(scheme: SecurityScheme) -> Iterable[str]:
    if (oauth2 := scheme.oauth2_security_scheme) is not None:
        for name in oauth2.flows.__struct_fields__:
            if (flow := getattr(oauth2.flows, name)) is not None:
                yield from flow.scopes


def pointed(challenges: str, url: str) -> str:
    """Name the metadata's address in the first Bearer challenge (section 5.1)."""
    return challenges.replace("Bearer realm=", f'Bearer resource_metadata="{url}", realm=', 1)
