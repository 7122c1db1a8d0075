"""Who may do what: what to hand to ``serve`` and ``asgi`` as ``security=``.

from greenroom.auth import ApiKeys, Security, open_id_connect

security = Security(
    open_id_connect("https://login.example.com", audience="https://agents.example.com"),
    ApiKeys("keys.json"),
)
"""

from __future__ import annotations

from .protocol.errors import UnavailableError
from .protocol.jose import SigningKey
from .protocol.types import SecurityRequirement, SecurityScheme
from .runtime.call import Call, Principal
from .runtime.security.audit import AuditEntry, AuditSink
from .runtime.security.limits import Limits
from .runtime.security.policy import Policy, Security
from .runtime.security.schemes.api_keys import ApiKey, ApiKeys, new_key
from .runtime.security.schemes.basic import Basic, hash_password
from .runtime.security.schemes.bearer import Bearer
from .runtime.security.schemes.claims import Claims
from .runtime.security.schemes.mutual_tls import MutualTls
from .runtime.security.schemes.ports import (
    Authenticator,
    InvalidCredential,
    Scheme,
    TokenVerifier,
    UnknownCredential,
    identify,
)
from .runtime.security.schemes.static_tokens import StaticToken, static_tokens
from .stores.audit_file import FileAudit
from .transports.auth.introspection import Introspection
from .transports.auth.schemes import enterprise_tokens, oauth2, open_id_connect

__all__ = [
    "ApiKey",
    "ApiKeys",
    "AuditEntry",
    "AuditSink",
    "Authenticator",
    "Basic",
    "Bearer",
    "Call",
    "Claims",
    "FileAudit",
    "Introspection",
    "InvalidCredential",
    "Limits",
    "MutualTls",
    "Policy",
    "Principal",
    "Scheme",
    "Security",
    "SecurityRequirement",
    "SecurityScheme",
    "SigningKey",
    "StaticToken",
    "TokenVerifier",
    "UnavailableError",
    "UnknownCredential",
    "enterprise_tokens",
    "hash_password",
    "identify",
    "new_key",
    "oauth2",
    "open_id_connect",
    "static_tokens",
]
