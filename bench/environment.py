"""Make the benchmark's own environment: peers and servers, never the project's environment."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".cache" / "bench-venv"
PYTHON = HOME / "bin" / "python"
REQUIREMENTS = (
    "a2a-sdk[http-server,sqlite,grpc]==1.3.0",
    "fasta2a>=2.1,<3",
    "uvicorn>=0.34",
    "fastapi>=0.115",
    "uvloop>=0.21",
    "httptools>=0.6",
    "hypercorn>=0.18",
    "h2>=4.3",
    "betterproto2>=0.10,<0.11",
    "PyJWT[crypto]>=2.10",
)


def ensure() -> Path:
    """Return the interpreter that runs every server, installing whatever is missing."""
    wanted = "\n".join((*REQUIREMENTS, sys.version))
    mark = HOME / "installed.txt"
    if not (mark.exists() and mark.read_text() == wanted):
        venv.create(HOME, with_pip=True, clear=True)
        pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS, "-e", str(ROOT)], check=True)
        mark.write_text(wanted)
    return PYTHON


if __name__ == "__main__":
    print(ensure())
