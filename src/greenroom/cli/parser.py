"""A parser of command lines that says what was probably meant."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

_SHOWN = 4
"""Signs of a value that an error shows: enough for a number, too few for a secret."""


def meant(word: str, known: Iterable[str]) -> str:
    """``"; did you mean …?"``, or nothing if no word that is known is like this one."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _shown(word: str) -> str:
    """Return an argument without its value, which may be a secret in the wrong place."""
    name, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return name + equals + (value if len(value) <= _SHOWN else "...")


class Parser(argparse.ArgumentParser):
    """Its commands are parsers of the same kind."""

    elsewhere: Mapping[str, str] = {}
    """What is no option but can be written otherwise, and how."""
    intermixed = False
    """Whether options may stand between arguments that may be missing."""
    _given: Sequence[str] = ()
    _mixing = False
    """Whether argparse calls back: it takes the options first, and then what they left over."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Refuse what is unknown where it stands: the command knows its options best."""
        if self._mixing:
            return super().parse_known_args(args, namespace)
        self._given = list(sys.argv[1:] if args is None else args)
        if self.intermixed:
            parsed, unknown = self._parse_intermixed(args, namespace)
        else:
            parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            hint = meant(name, self._option_string_actions) if name.startswith("-") else ""
            if name in self.elsewhere:
                hint = f"; write {self.elsewhere[name]}"
            self.error(f"unrecognized arguments: {' '.join(map(_shown, unknown))}{hint}")
        return parsed, unknown

    def _parse_intermixed(
        self, args: Sequence[str] | None, namespace: Any
    ) -> tuple[Any, list[str]]:
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        lacking = re.search(r"argument .*?([^/ ]+): expected one argument", message)
        if lacking is not None and lacking[1] in self._given[:-1]:
            value = self._given[self._given.index(lacking[1]) + 1]
            message += f", not the option {value} (if it is none: {lacking[1]}={value})"
        chosen = re.search(r"invalid choice: '([^']*)'", message)
        if chosen is not None:
            choices = (str(choice) for action in self._actions for choice in action.choices or ())
            message += meant(chosen[1], choices)
        # Without the usage, which can be longer than a screen: the last line is what matters.
        self.exit(2, f"{self.prog}: error: {message} (`{self.prog} --help` tells more)\n")

    def format_help(self) -> str:
        return super().format_help().replace("``", "`")
