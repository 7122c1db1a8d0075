"""The build hook of editable installs: it makes the links that a source distribution cannot carry.

``pip install -e .`` puts ``src`` on the path, where ``greenroom/protocol`` and its three siblings
are links to the root folders. Git keeps such links, an sdist does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDERS = ("protocol", "runtime", "stores", "transports")


class Links(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling finds this class as the only hook in this file."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            return
        for folder in FOLDERS:
            link = Path(self.root, "src", "greenroom", folder)
            if not link.exists():
                link.symlink_to(Path("..", "..", folder), target_is_directory=True)
