"""What the runtime may say of an exception that the code of a user raised.

Such an exception is input. Its text may be missing, endless, or no text that can be encoded; asking
for the text, the cause or even the class may raise. The functions here never raise, and what they
return is bounded and can be written to a journal and to a log.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from ..protocol.values import mend

TEXT_LIMIT = 16 * 1024
"""Characters of an exception's text that are kept."""
_CHAIN_LIMIT = 64
"""Exceptions of one chain (causes, contexts, members of groups) that are looked at."""


def exception_text(error: BaseException) -> str:
    """Return ``str(error)``, at most ``TEXT_LIMIT`` characters of it, with U+FFFD for what UTF-8
    cannot encode. An exception whose ``__str__`` raises is described by its class."""
    try:
        text = str(error)
        whole = str.__len__(text)
        kept = str.__getitem__(text, slice(0, TEXT_LIMIT))  # a plain str, whatever the class was
    except BaseException:
        return f"({class_name(error)}, whose text cannot be read)"
    if whole > TEXT_LIMIT:
        kept += f"… ({whole} characters)"
    return mend(kept)


def class_name(error: BaseException) -> str:
    """Return the name of the exception's class, whatever its metaclass says."""
    name: str = type.__dict__["__name__"].__get__(type(error))
    return mend(name[:TEXT_LIMIT])


def is_failure(error: BaseException) -> bool:
    """Whether the code of a user failed, which a program's exit counts as. A cancellation and what
    unwinds a handler are no failures, nor is a group that holds one."""
    if issubclass(type(error), (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)):
        return True
    if not issubclass(type(error), BaseExceptionGroup):
        return False
    pending: list[BaseException] = [error]
    while pending:
        one = pending.pop()
        if issubclass(type(one), BaseExceptionGroup):
            pending += BaseExceptionGroup.exceptions.__get__(one)  # pyright: ignore[reportCallIssue, reportArgumentType]
        elif not is_failure(one):
            return False
    return True


def has_repr(error: BaseException) -> bool:
    """Whether ``repr(error)`` gives a text."""
    try:
        repr(error)
    except BaseException:
        return False
    return True


def loggable(error: BaseException) -> BaseException:
    """Return ``error`` if a log can print it, else a short stand-in with the same traceback."""
    try:
        if _printable(error):
            return error
    except BaseException:
        pass
    stand_in = RuntimeError(f"{class_name(error)}: {exception_text(error)}")
    traceback: TracebackType | None = vars(BaseException)["__traceback__"].__get__(error)
    return stand_in.with_traceback(traceback)


def _printable(error: BaseException) -> bool:
    """Whether every text of the chain of ``error`` is short and can be encoded."""
    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if len(seen) > _CHAIN_LIMIT:
            return False
        for text in (str(one), *getattr(one, "__notes__", ())):
            if not isinstance(text, str) or len(text) > TEXT_LIMIT or mend(text) != text:
                return False
        pending += _neighbours(one)
    return True


def _neighbours(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        yield from error.exceptions
    for other in (error.__cause__, error.__context__):
        if other is not None:
            yield other
