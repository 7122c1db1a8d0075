"""Limits of an exchange, and what fails in it, as errors of ours.

An error of httpcore2 carries its cause as an argument: the pool takes its ``__cause__`` away.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import h11
import httpcore2
from msgspec import Struct

from .errors import HttpError, NoAnswerError
from .urls import Url


class Limits(Struct, frozen=True, kw_only=True):
    """Seconds, bytes and numbers."""

    connect: float = 10.0
    """Seconds for name, connection and TLS handshake together."""
    silence: float = 300.0
    """Seconds that the server may say nothing: agents think for minutes."""
    total: float = 900.0
    """Seconds from the request until the head of the answer, and until the end of a body that is
    read whole. A stream may last longer."""
    stream: float | None = None
    """Seconds that a stream may last, ``None`` for no limit."""
    body: int = 64 * 1024 * 1024
    """Bytes of a body that is read whole, after decoding. Streams have no limit of length."""
    headers: int = 200
    """Header fields of an answer. Together they may have 100 KiB."""
    redirects: int = 3


@contextmanager
def time_limit(deadline: float | None) -> Generator[None, None, None]:
    left = None if deadline is None else max(0.0, deadline - anyio.current_time())
    try:
        with anyio.fail_after(left):
            yield
    except TimeoutError:
        raise HttpError("the answer took too long; the task may still go on") from None


@contextmanager
def http_errors(
    limits: Limits, url: Url | None = None, where: str = ""
) -> Generator[None, None, None]:
    """Raise what httpcore2 raises as an HttpError.

    ``url`` is given where the head of its answer is awaited, with ``where`` to connect to.
    """
    broken = HttpError if url is None else NoAnswerError
    try:
        yield
    except (HttpError, TimeoutError):
        raise
    except httpcore2.ConnectTimeout:
        raise HttpError(f"no connection to {where} in {limits.connect:g} s") from None
    except httpcore2.ConnectError as error:
        raise _not_connected(error, where, url) from _cause(error)
    except httpcore2.ReadTimeout:
        raise HttpError(
            f"nothing came for {limits.silence:g} s; the task may still go on"
        ) from None
    except (httpcore2.WriteTimeout, httpcore2.WriteError) as error:
        raise HttpError(f"the request could not be sent: {_why(error)}") from error
    except httpcore2.RemoteProtocolError as error:
        if isinstance(_cause(error), h11.RemoteProtocolError) or url is None:
            raise HttpError(f"the answer broke off or is not HTTP: {_why(error)}") from error
        raise NoAnswerError("the server closed the connection without an answer") from error
    except (httpcore2.LocalProtocolError, h11.LocalProtocolError) as error:
        raise HttpError(f"the request to {url} cannot be sent: {_why(error)}") from error
    except httpcore2.ProxyError as error:
        raise HttpError(f"no connection to {where}: {_why(error)}") from error
    except (httpcore2.ReadError, OSError) as error:
        raise broken(f"the connection broke: {_why(error)}") from error


def _not_connected(error: httpcore2.ConnectError, where: str, url: Url | None) -> HttpError:
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        host = "the server" if url is None else url.origin.host
        return HttpError(f"the certificate of {host} is not trusted: {cause.verify_message}")
    if isinstance(cause, anyio.EndOfStream | anyio.BrokenResourceError | ssl.SSLError):
        return NoAnswerError(f"{where} ended the TLS handshake: {_why(error)}")
    return HttpError(f"cannot connect to {where}: {_why(error)}")


def _cause(error: BaseException) -> BaseException:
    """Return what an error of httpcore2 was made of: its argument, not its ``__cause__``, which
    the pool takes away."""
    inner = error.args[0] if error.args else None
    return inner if isinstance(inner, BaseException) else error


def _why(error: BaseException) -> str:
    error = _cause(error)
    text = getattr(error, "strerror", None)
    while text is None and error.__cause__ is not None:
        error = error.__cause__
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        text = getattr(error, "strerror", None)
    return text or str(error) or type(error).__name__
