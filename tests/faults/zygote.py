"""Starts servers quickly: everything is imported once, and each server is a fork.

Reads one JSON object a line (``argv``, ``env``, ``out``) and answers with the process id. Nothing
that a server does reaches its siblings: the fork happens before any event loop.
"""

from __future__ import annotations

import json
import os
import signal
import sys


def main() -> None:
    import anyio._backends._asyncio
    import hypercorn.asyncio

    import greenroom.announce
    import greenroom.app
    import greenroom.cli.main
    import greenroom.logs
    import greenroom.stores.sqlite
    import greenroom.transports.http.asgi
    import greenroom.transports.push.delivery
    import greenroom.transports.server.entrypoint

    assert hypercorn.asyncio
    assert anyio._backends._asyncio
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for line in sys.stdin:
        told = json.loads(line)
        child = os.fork()
        if child:
            print(child, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ.update(told["env"])
        out = os.open(told["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(os.open(told["out"] + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        code = 1
        try:
            code = greenroom.cli.main.main(told["argv"])
        finally:
            sys.stdout.flush()
            os._exit(code)


main()
