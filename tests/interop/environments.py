"""Environments of foreign clients and servers, each with one version of the official SDK.

``python -m tests.interop.environments`` makes those that are missing; `make test` does that before
the tests start, so that no test's time limit includes an installation.
"""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from tests.support.once import made_once
from tests.support.paths import ROOT

VERSIONS = ("1.3.0", "0.3.26")


def interpreter(version: str) -> Path:
    """The interpreter of an environment with that version of the SDK; made if it is not there."""
    folder = ROOT / ".cache" / "interop"
    home = folder / version
    python = home / "bin" / "python"

    def make() -> None:
        venv.create(home, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"a2a-sdk[grpc]=={version}"], check=True)

    made_once(home / "installed-grpc", folder / f"{version}.lock", make)
    return python


def server_interpreter(version: str) -> Path:
    """The interpreter of an environment that can serve with that version of the SDK."""
    folder = ROOT / ".cache" / "interop"
    home = folder / f"server-{version}"
    python = home / "bin" / "python"

    def make() -> None:
        venv.create(home, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"a2a-sdk[http-server]=={version}", "hypercorn"], check=True)

    made_once(home / "installed-server", folder / f"server-{version}.lock", make)
    return python


def main() -> None:
    for version in VERSIONS:
        interpreter(version)
        server_interpreter(version)


if __name__ == "__main__":
    main()
