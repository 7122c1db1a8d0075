"""The client: a remote agent as an object.

async with Client("https://agents.example.com/travel") as agent:
    result = await agent.run("Book me a trip")
"""

from __future__ import annotations

from ..transports.client.errors import HttpError, PeerError
from ..transports.client.http import Limits
from ..transports.client.trust import Trust
from ..transports.client.updates.follow import LostError, Receiver, Updates
from ..transports.client.updates.retries import Retries
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
    "AuthRequired",
    "Client",
    "HttpError",
    "InputRequired",
    "InvalidOutputError",
    "Limits",
    "LostError",
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
