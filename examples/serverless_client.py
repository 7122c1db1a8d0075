"""Starts a task and leaves: a webhook is told of the rest. What a cloud function would do.

python examples/serverless_client.py http://127.0.0.1:8000 http://127.0.0.1:9000 tea
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from urllib.request import Request, urlopen

TOKEN = os.environ.get("WEBHOOK_TOKEN", "a-token-of-mine")


def begin(agent: str, webhook: str, text: str) -> str:
    """Send ``text`` to the agent at ``agent``; return the id of the task that ``webhook`` is told
    of."""
    message = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}
    configuration = {
        "returnImmediately": True,
        "taskPushNotificationConfig": {"url": webhook, "token": TOKEN},
    }
    body = json.dumps({"message": message, "configuration": configuration}).encode()
    headers = {"Content-Type": "application/json", "A2A-Version": "1.0"}
    with urlopen(Request(f"{agent}/message:send", body, headers)) as answer:
        task_id: str = json.load(answer)["task"]["id"]
        return task_id


if __name__ == "__main__":
    print(begin(*sys.argv[1:4]))
