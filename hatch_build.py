"""What the build does beyond copying files: the links of an editable install, and the page on PyPI.

``pip install -e .`` puts ``src`` on the path, where ``greenroom/protocol`` and its three siblings
are links to the root folders. Git keeps such links, an sdist does not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

FOLDERS = ("protocol", "runtime", "stores", "transports")
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#]+)")
"""The target of a link in Markdown that is a path of the repository."""


class Links(BuildHookInterface):  # type: ignore[type-arg]
    """The build hook of editable installs: it makes the links."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            return
        for folder in FOLDERS:
            link = Path(self.root, "src", "greenroom", folder)
            if not link.exists():
                link.symlink_to(Path("..", "..", folder), target_is_directory=True)


class Readme(MetadataHookInterface):
    """The metadata hook: the README, whose links must lead somewhere from other pages, too."""

    def update(self, metadata: dict[str, Any]) -> None:
        source = metadata["urls"]["Source"]
        root = Path(self.root)

        def absolute(link: re.Match[str]) -> str:
            kind = "tree" if (root / link[1]).is_dir() else "blob"
            return f"]({source}/{kind}/main/{link[1]}"

        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": LINK.sub(absolute, text),
        }
