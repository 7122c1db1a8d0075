"""Names of settings that do not exist: what an error shows of them, and what was probably meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from .auth import SECRET

PREFIX = "GREENROOM_"
"""What the names of environment variables begin with."""
_CLOSE = 0.7
"""How like a setting a name must be to be taken for a slip of the pen."""


def shown(name: str) -> str:
    """Return an unknown name without what may be a secret that was written into it: all behind the
    name of a setting that holds one, and behind the first sign that no name has."""
    plain = re.match(r"[\w.-]{0,64}", name)
    text = plain[0] if plain is not None else ""
    for known in sorted(SECRET, key=len, reverse=True):
        for start in (f"auth.{known}", f"{PREFIX}AUTH_{known.upper()}"):
            if text.startswith(start):
                text = start
    return repr(text) if text == name else f"{text!r}, followed by more,"


def unknown(name: str, known: Mapping[str, str], groups: Iterable[str]) -> str:
    """``known`` are names as they could have been written, and the settings they are."""
    if name.startswith(PREFIX):
        wanted = name.removeprefix(PREFIX).lower()
        group = next((group for group in groups if wanted.startswith(f"{group}_")), "")
        leaf = wanted.removeprefix(f"{group}_")
    else:
        wanted = name
        group, _, leaf = name.rpartition(".")

    def likeness(setting: str) -> float:
        # By what is behind the group, which would make all of one group look alike.
        its_group, _, its_leaf = setting.rpartition(".")
        if leaf == its_leaf:
            return 1.0 if group == its_group else 0.9
        if its_group and its_group != group:
            return 0.0
        return difflib.SequenceMatcher(None, leaf if its_group else wanted, its_leaf).ratio()

    likeness_of = {candidate: likeness(setting) for candidate, setting in known.items()}
    most = max(likeness_of.values())
    close = [candidate for candidate, alike in likeness_of.items() if alike == most >= _CLOSE]
    hint = f"did you mean {' or '.join(close)}?" if close else "`greenroom settings` lists them"
    return f"there is no such setting; {hint}"
