"""The client: a remote agent as an object.

async with Client("https://agents.example.com/travel") as agent:
    result = await agent.run("Book me a trip")
"""

from __future__ import annotations

from ..transports.client.auth.browser import AuthorizationCode
from ..transports.client.auth.digest import Digest
from ..transports.client.auth.mutual import MutualTls
from ..transports.client.auth.oauth import ClientCredentials, DeviceCode, DevicePrompt
from ..transports.client.auth.static import ApiKey, Basic, Bearer
from ..transports.client.errors import AuthError, HttpError, PeerError
from ..transports.client.http import Limits
from ..transports.client.trust import Trust
from ..transports.client.updates.follow import LostError, Receiver, Updates
from ..transports.client.updates.retries import Retries
from .blocking import BlockingClient
from .client import Client
from .results import (
    AuthRequired,
    InputRequired,
    InvalidOutputError,
    Result,
    TaskCanceled,
    TaskEndedError,
    TaskFailed,
    TaskRejected,
)

__all__ = [
    "ApiKey",
    "AuthError",
    "AuthRequired",
    "AuthorizationCode",
    "Basic",
    "Bearer",
    "BlockingClient",
    "Client",
    "ClientCredentials",
    "DeviceCode",
    "DevicePrompt",
    "Digest",
    "HttpError",
    "InputRequired",
    "InvalidOutputError",
    "Limits",
    "LostError",
    "MutualTls",
    "PeerError",
    "Receiver",
    "Result",
    "Retries",
    "TaskCanceled",
    "TaskEndedError",
    "TaskFailed",
    "TaskRejected",
    "Trust",
    "Updates",
]
