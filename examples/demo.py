"""What `make demo` shows: the examples served on SQLite, one task streamed, what to try next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).parent
AGENTS = [
    f"{os.path.relpath(HERE / name)}:agent"
    for name in ("streaming_writer.py", "multi_turn.py", "files.py")
]
GREENROOM = [sys.executable, "-m", "greenroom"]

NEXT = """
Try these in another terminal ({python} is where Greenroom is installed):

  curl {url}/.well-known/agent-card.json

  curl -N {url}/a2a -H 'A2A-Version: 1.0' -H 'Content-Type: application/json' -d '
    {{"jsonrpc": "2.0", "id": 1, "method": "SendStreamingMessage", "params": {{"message":
      {{"messageId": "{id}", "role": "ROLE_USER", "parts": [{{"text": "rain"}}]}}}}}}'

  {python} -m greenroom send {desk} "Lisbon"        # it asks; answer with --task

In Python, without a server:

  from greenroom.testing import run, served
  from examples.multi_turn import agent

  async def talk():
      async with served(agent) as desk:
          task = await desk.send("Lisbon")
          print(task.status.message.text)

  run(talk)
"""


def main() -> int:
    """Serve, stream one task, say what to try, and stop when told to (or at once without a tty)."""
    with tempfile.TemporaryDirectory(prefix="greenroom-demo-") as folder:
        store = f"sqlite:///{folder}/demo.db"
        command = [*GREENROOM, "serve", *AGENTS, "--port", "0", "--store", store]
        print("$ greenroom", *command[3:])
        server = subprocess.Popen(
            [*command, "--log-format", "json", "--log-level", "warning"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                return server.wait() or 1
            ready = json.loads(line)
            url = ready["url"]
            print(f"listening on {url}\n\n$ greenroom send {url} tea --stream", flush=True)
            sent = subprocess.run([*GREENROOM, "send", url, "tea", "--stream"], check=False)
            python = os.path.relpath(sys.executable)
            desk = ready["agents"][1]["url"]
            print(NEXT.format(url=url, desk=desk, python=python, id=uuid.uuid4()), flush=True)
            if sys.stdin.isatty() and sent.returncode == 0:
                input("Press Enter to stop the server. ")
            return sent.returncode
        except (KeyboardInterrupt, EOFError):
            return 0
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
            print("The server has stopped; its store is removed with the demo.")


if __name__ == "__main__":
    sys.exit(main())
