"""A server process under measurement: on core 0, its CPU time and memory read from /proc."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from . import environment

SERVER_CORE, LOAD_CORE = 0, 1
_ADDRESS = re.compile(rb"http://[^\s:/]+:(\d+)")


@dataclass(frozen=True)
class Contender:
    """Who races: a peer's module and how it is set up."""

    peer: str  # "sdk", "fasta2a", "noop", "greenroom"
    agent: str = "task"
    server: str = "uvicorn"
    store: str = "memory"  # or "sqlite"

    @property
    def name(self) -> str:
        store = "" if self.store == "memory" else f", {self.store}"
        return f"{self.peer} on {self.server}{store}"


class Server:
    """`with Server(contender) as server` starts a process and waits for its port; then ends it."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.port = 0
        self._scratch = tempfile.TemporaryDirectory(prefix="bench-")

    def __enter__(self) -> Server:
        where = Path(self._scratch.name)
        store = "memory://"
        if self.contender.store == "sqlite":
            store = f"sqlite:///{where / 'tasks.db'}"
        errors = where / "stderr.txt"
        with errors.open("wb") as stderr:
            self._process = subprocess.Popen(
                [
                    *(str(environment.PYTHON), "-m", f"bench.peers.{self.contender.peer}_server"),
                    *("--agent", self.contender.agent),
                    *("--server", self.contender.server),
                    *("--store", store),
                ],
                cwd=environment.ROOT,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, "OTEL_INSTRUMENTATION_A2A_SDK_ENABLED": "false"},
            )
        pin(self._process.pid, SERVER_CORE)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if match := _ADDRESS.search(line):
                self.port = int(match[1])
                if self._answers():
                    return self
                break
        said = self.stderr()
        self.__exit__(None, None, None)
        raise RuntimeError(f"{self.contender.name} did not start: {said}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and (said := self.stderr()):
            error.add_note(f"{self.contender.name} said: {said}")
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._scratch.cleanup()

    def _answers(self) -> bool:
        for _ in range(500):
            if self._process.poll() is not None:
                return False
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return True
        return False

    def stderr(self) -> str:
        return Path(self._scratch.name, "stderr.txt").read_text(errors="replace")[-2000:]

    def cpu(self) -> float:
        """Seconds on a CPU so far, user and system, all threads; the scheduler counts in ns."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def rss(self) -> int:
        """Resident memory in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(match[1]) * 1024 if match else 0


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where the machine has more than one."""
    if core in os.sched_getaffinity(0) or core in os.sched_getaffinity(pid):
        os.sched_setaffinity(pid, {core})
