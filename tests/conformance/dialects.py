"""The four HTTP dialects of A2A, spoken by hand: requests and answers in the words of 1.0.

Nothing of ``greenroom.protocol`` is used, so that a codec cannot excuse itself: what a test says
and reads is JSON as the specifications write it, translated here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from tests.support.asgi import Headers, Response, Wire, opened, request

Json = dict[str, Any]

# Section 5.3, and section 3.5.6 of 0.3.
METHODS = {
    "SendMessage": "message/send",
    "SendStreamingMessage": "message/stream",
    "GetTask": "tasks/get",
    "CancelTask": "tasks/cancel",
    "SubscribeToTask": "tasks/resubscribe",
    "CreateTaskPushNotificationConfig": "tasks/pushNotificationConfig/set",
    "GetTaskPushNotificationConfig": "tasks/pushNotificationConfig/get",
    "ListTaskPushNotificationConfigs": "tasks/pushNotificationConfig/list",
    "DeleteTaskPushNotificationConfig": "tasks/pushNotificationConfig/delete",
    "GetExtendedAgentCard": "agent/getAuthenticatedExtendedCard",
}
ROUTES = {
    "SendMessage": ("POST", "/message:send"),
    "SendStreamingMessage": ("POST", "/message:stream"),
    "GetTask": ("GET", "/tasks/{id}"),
    "ListTasks": ("GET", "/tasks"),
    "CancelTask": ("POST", "/tasks/{id}:cancel"),
    "SubscribeToTask": ("POST", "/tasks/{id}:subscribe"),
    "CreateTaskPushNotificationConfig": ("POST", "/tasks/{taskId}/pushNotificationConfigs"),
    "GetTaskPushNotificationConfig": ("GET", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "ListTaskPushNotificationConfigs": ("GET", "/tasks/{taskId}/pushNotificationConfigs"),
    "DeleteTaskPushNotificationConfig": ("DELETE", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "GetExtendedAgentCard": ("GET", "/extendedAgentCard"),
}
ROUTES_03 = ROUTES | {
    "SubscribeToTask": ("GET", "/tasks/{id}:subscribe"),
    "GetExtendedAgentCard": ("GET", "/card"),
}


@dataclass
class Fault:
    """An error as it was told. ``code`` is the JSON-RPC code or, over REST 1.0, the status."""

    code: int
    message: str
    details: list[Json] = field(default_factory=list)
    status: str | None = None

    @property
    def info(self) -> Json:
        """The ErrorInfo; KeyError unless there is exactly one."""
        found = [one for one in self.details if one["@type"].endswith("/google.rpc.ErrorInfo")]
        if len(found) != 1:
            raise KeyError("ErrorInfo")
        return found[0]

    @property
    def fields(self) -> list[str]:
        """The paths of the fields that were refused."""
        return [
            violation["field"]
            for one in self.details
            if one["@type"].endswith("/google.rpc.BadRequest")
            for violation in one["fieldViolations"]
        ]


@dataclass
class Answer:
    """``result`` is in the words of 1.0, ``raw`` what was sent."""

    response: Response
    raw: Any = None
    result: Any = None
    fault: Fault | None = None

    @property
    def task(self) -> Json:
        """The task of a send, or the task itself."""
        assert self.fault is None, self.fault
        value: Json = self.result.get("task", self.result)
        assert "status" in value, self.result
        return value


class Open:
    """A stream seen by its client."""

    def __init__(self, dialect: Dialect, wire: Wire) -> None:
        self._dialect = dialect
        self.wire = wire

    def _read(self) -> list[Json]:
        return [self._dialect.event(event.data) for event in self.wire.response.events]

    async def events(self, count: int) -> list[Json]:
        """Wait for ``count`` events and return all there are."""
        await self.wire.events(count)
        value = self._read()
        assert len(value) >= count, f"the stream ended after {value}"
        return value

    async def rest(self) -> list[Json]:
        """Return all events once the server has ended the stream."""
        response = await self.wire.ended()
        assert self.wire.over
        assert response.status == 200, response.body
        assert response["content-type"].split(";")[0] == "text/event-stream"
        return self._read()


class Dialect:
    """One binding in one version. ``at`` is where the agent is: ``""``, ``/a2a/agents/slug``."""

    name: str
    version: str | None

    def request(self, operation: str, params: Json) -> tuple[str, str, Any]:
        """Return method, path with query, and the JSON of the body or ``None``."""
        raise NotImplementedError

    def read(self, response: Response) -> Answer:
        raise NotImplementedError

    def event(self, data: bytes) -> Json:
        raise NotImplementedError

    def headers(self, headers: Headers, body: Any) -> Headers:
        value = [*headers]
        given = {name.lower() for name, _ in value}
        if body is not None and "content-type" not in given:
            value.append(("content-type", "application/json"))
        if self.version is not None and "a2a-version" not in given:
            value.append(("a2a-version", self.version))
        return value

    async def call(
        self,
        app: Any,
        operation: str,
        params: Json | None = None,
        *,
        headers: Headers = (),
        at: str = "",
    ) -> Answer:
        """Make one request and read its answer; a stream is read to its end."""
        method, path, body = self.request(operation, params or {})
        response = await request(
            app,
            method,
            at + path,
            headers=self.headers(headers, body),
            body=b"" if body is None else json.dumps(body).encode(),
        )
        if response["content-type"].startswith("text/event-stream"):
            return self.streamed(response)
        return self.read(response)

    def streamed(self, response: Response) -> Answer:
        """Read a stream that has ended."""
        return Answer(response, result=[self.event(event.data) for event in response.events])

    @asynccontextmanager
    async def stream(
        self,
        app: Any,
        operation: str,
        params: Json | None = None,
        *,
        headers: Headers = (),
        at: str = "",
    ) -> AsyncIterator[Open]:
        """Make a streaming request and stay with it; on leaving the client hangs up."""
        method, path, body = self.request(operation, params or {})
        raw = b"" if body is None else json.dumps(body).encode()
        async with opened(
            app, method, at + path, headers=self.headers(headers, body), body=raw
        ) as wire:
            yield Open(self, wire)

    def __str__(self) -> str:
        return self.name


class JsonRpc(Dialect):
    name = "jsonrpc-1.0"
    version: str | None = "1.0"

    def request(self, operation: str, params: Json) -> tuple[str, str, Any]:
        return "POST", "/a2a", self.envelope(operation, params)

    def envelope(self, operation: str, params: Json) -> Json:
        return {"jsonrpc": "2.0", "id": "r-1", "method": operation, "params": params}

    def read(self, response: Response) -> Answer:
        return self.told(response, response.json)

    def told(self, response: Response, raw: Json) -> Answer:
        assert raw["jsonrpc"] == "2.0"
        assert ("result" in raw) != ("error" in raw)
        if "error" in raw:
            error = raw["error"]
            assert set(error) <= {"code", "message", "data"}
            fault = Fault(error["code"], error["message"], error.get("data", []))
            return Answer(response, raw, fault=fault)
        assert raw["id"] == "r-1"
        return Answer(response, raw, self.result(raw["result"]))

    def result(self, raw: Any) -> Any:
        return raw

    def event(self, data: bytes) -> Json:
        raw = json.loads(data)
        assert set(raw) == {"jsonrpc", "id", "result"}
        assert raw["id"] == "r-1"
        body: Json = self.result(raw["result"])
        assert len(body) == 1, "exactly one member"
        return body


class Rest(Dialect):
    name, version = "rest-1.0", "1.0"
    routes = ROUTES
    prefix = ""

    def request(self, operation: str, params: Json) -> tuple[str, str, Any]:
        method, path = self.routes[operation]
        left = dict(params)
        for name in ("taskId", "id"):
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", quote(str(left.pop(name)), safe=""))
        if method == "POST" and operation != "SubscribeToTask":
            return method, self.prefix + path, left
        query = urlencode({name: self.spelled(value) for name, value in left.items()})
        return method, self.prefix + path + (f"?{query}" if query else ""), None

    @staticmethod
    def spelled(value: Any) -> str:
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)

    def read(self, response: Response) -> Answer:
        raw = response.json
        if response.status == 200:
            return Answer(response, raw, raw)
        assert set(raw) == {"error"}
        error = raw["error"]
        assert error["code"] == response.status
        fault = Fault(error["code"], error["message"], error.get("details", []), error["status"])
        return Answer(response, raw, fault=fault)

    def event(self, data: bytes) -> Json:
        body: Json = json.loads(data)
        assert len(body) == 1, "exactly one member"
        return body


# --- 0.3 -----------------------------------------------------------------------------------------

STATES_03 = {
    "submitted": "TASK_STATE_SUBMITTED",
    "working": "TASK_STATE_WORKING",
    "completed": "TASK_STATE_COMPLETED",
    "failed": "TASK_STATE_FAILED",
    "canceled": "TASK_STATE_CANCELED",
    "input-required": "TASK_STATE_INPUT_REQUIRED",
    "rejected": "TASK_STATE_REJECTED",
    "auth-required": "TASK_STATE_AUTH_REQUIRED",
}
SHARED = ("contextId", "taskId", "metadata", "extensions", "referenceTaskIds", "messageId")


class JsonRpc03(JsonRpc):
    """Lower-case states, ``kind`` tags; no version is sent, as 0.2 and 0.3 clients do."""

    name, version = "jsonrpc-0.3", None

    def envelope(self, operation: str, params: Json) -> Json:
        if operation in ("SendMessage", "SendStreamingMessage"):
            params = self.sent(params)
        elif operation.endswith("PushNotificationConfig"):
            params = self.push(operation, params)
        elif operation == "ListTaskPushNotificationConfigs":
            params = {"id": params["taskId"]}
        return super().envelope(METHODS[operation], params)

    def streamed(self, response: Response) -> Answer:
        """Its clients read nothing but a stream here, so a refusal is one of a single event."""
        events = response.events
        if len(events) == 1 and "error" in json.loads(events[0].data):
            return self.told(response, json.loads(events[0].data))
        return super().streamed(response)

    def sent(self, params: Json) -> Json:
        fields = {**params, "message": self.message(params["message"])}
        if "configuration" in params:
            configuration = dict(params["configuration"])
            configuration["blocking"] = not configuration.pop("returnImmediately", False)
            if "taskPushNotificationConfig" in configuration:
                push = configuration.pop("taskPushNotificationConfig")
                configuration["pushNotificationConfig"] = push
            fields["configuration"] = configuration
        return fields

    @staticmethod
    def push(operation: str, params: Json) -> Json:
        if operation.startswith("Create"):
            config = {name: value for name, value in params.items() if name != "taskId"}
            return {"taskId": params["taskId"], "pushNotificationConfig": config}
        return {"id": params["taskId"], "pushNotificationConfigId": params["id"]}

    @staticmethod
    def message(plain: Json) -> Json:
        fields = {**plain, "kind": "message", "role": plain["role"][5:].lower()}
        fields["parts"] = [_old_part(part) for part in plain["parts"]]
        return fields

    def result(self, raw: Any) -> Any:
        match raw.get("kind"):
            case "task":
                return {"task": task_of(raw)}
            case "message":
                return {"message": message_of(raw)}
            case "status-update":
                assert isinstance(raw["final"], bool)
                status = status_of(raw["status"])
                return {"statusUpdate": _kept(raw, "kind", "final") | {"status": status}}
            case "artifact-update":
                return {"artifactUpdate": _chunk(raw, artifact_of(raw["artifact"]))}
        return raw


class Rest03(Rest):
    """The proto file's JSON, as the official 0.3 clients send it: ``content``, ``request``."""

    name, version = "rest-0.3", "0.3"
    routes = ROUTES_03
    prefix = "/v1"

    def request(self, operation: str, params: Json) -> tuple[str, str, Any]:
        if operation in ("SendMessage", "SendStreamingMessage"):
            fields = {name: value for name, value in params.items() if name != "message"}
            message = {**params["message"]}
            message["content"] = [_proto_part(part) for part in message.pop("parts")]
            fields["request"] = message
            configuration = {"blocking": True, **params.get("configuration", {})}
            if "returnImmediately" in configuration:
                configuration["blocking"] = not configuration.pop("returnImmediately")
            if "taskPushNotificationConfig" in configuration:
                push = configuration.pop("taskPushNotificationConfig")
                configuration["pushNotification"] = push
            params = {**fields, "configuration": configuration}
        elif operation == "CreateTaskPushNotificationConfig":
            config = {name: value for name, value in params.items() if name != "taskId"}
            params = {"taskId": params["taskId"], "pushNotificationConfig": config}
        return super().request(operation, params)

    def read(self, response: Response) -> Answer:
        raw = response.json
        if response.status == 200:
            return Answer(response, raw, self.result(raw))
        return Answer(response, raw, fault=Fault(raw["code"], raw["message"], raw.get("data", [])))

    def event(self, data: bytes) -> Json:
        body: Json = self.result(json.loads(data))
        assert len(body) == 1, "exactly one member"
        return body

    @staticmethod
    def result(raw: Any) -> Any:
        if isinstance(raw, list):
            return {"tasks": [task_of(task) for task in raw]}
        if "task" in raw:
            return {"task": task_of(raw["task"])}
        if "message" in raw:
            return {"message": message_of(raw["message"])}
        if "statusUpdate" in raw:
            event = raw["statusUpdate"]
            return {"statusUpdate": _kept(event, "final") | {"status": status_of(event["status"])}}
        if "artifactUpdate" in raw:
            event = raw["artifactUpdate"]
            return {"artifactUpdate": _chunk(event, artifact_of(event["artifact"]))}
        return task_of(raw) if "status" in raw else raw


def _kept(plain: Json, *names: str) -> Json:
    return {name: value for name, value in plain.items() if name not in names}


def _chunk(plain: Json, artifact: Json) -> Json:
    """``append`` and ``lastChunk`` are written even when false."""
    fields = {n: v for n, v in plain.items() if n != "kind" and v is not False}
    return fields | {"artifact": artifact}


def _old_part(part: Json) -> Json:
    extra = {name: part[name] for name in ("metadata",) if name in part}
    if "text" in part:
        return {"kind": "text", "text": part["text"], **extra}
    if "data" in part:
        return {"kind": "data", "data": part["data"], **extra}
    file = {"name": part.get("filename"), "mimeType": part.get("mediaType")}
    file |= {"bytes": part["raw"]} if "raw" in part else {"uri": part["url"]}
    return {"kind": "file", "file": {n: v for n, v in file.items() if v is not None}, **extra}


def _proto_part(part: Json) -> Json:
    if "text" in part:
        return {"text": part["text"]}
    if "data" in part:
        return {"data": {"data": part["data"]}}
    file = {"name": part.get("filename"), "mimeType": part.get("mediaType")}
    file |= {"fileWithBytes": part["raw"]} if "raw" in part else {"fileWithUri": part["url"]}
    return {"file": {name: value for name, value in file.items() if value is not None}}


def part_of(old: Json) -> Json:
    value = {name: old[name] for name in ("metadata",) if name in old}
    if "text" in old:
        return value | {"text": old["text"]}
    if "data" in old:
        data = old["data"]
        return value | {"data": data["data"] if set(data) == {"data"} else data}
    file = old["file"]
    raw = file.get("bytes", file.get("fileWithBytes"))
    value |= {"raw": raw} if raw is not None else {"url": file.get("uri", file.get("fileWithUri"))}
    if "name" in file:
        value["filename"] = file["name"]
    if "mimeType" in file:
        value["mediaType"] = file["mimeType"]
    return value


def message_of(old: Json) -> Json:
    role = old["role"]
    value = {name: old[name] for name in SHARED if name in old}
    value["role"] = role if role.startswith("ROLE_") else f"ROLE_{role.upper()}"
    value["parts"] = [part_of(part) for part in old["parts" if "parts" in old else "content"]]
    return value


def artifact_of(old: Json) -> Json:
    return _kept(old, "parts") | {"parts": [part_of(part) for part in old["parts"]]}


def status_of(old: Json) -> Json:
    state = old["state"].replace("CANCELLED", "CANCELED")
    fields = {**old, "state": STATES_03.get(state, state)}
    if "message" in old:
        fields["message"] = message_of(old["message"])
    return fields


def task_of(old: Json) -> Json:
    fields = _kept(old, "kind") | {"status": status_of(old["status"])}
    if "artifacts" in old:
        fields["artifacts"] = [artifact_of(artifact) for artifact in old["artifacts"]]
    if "history" in old:
        fields["history"] = [message_of(message) for message in old["history"]]
    return fields


JSONRPC, REST, JSONRPC_03, REST_03 = JsonRpc(), Rest(), JsonRpc03(), Rest03()
DIALECTS: list[Dialect] = [JSONRPC, REST, JSONRPC_03, REST_03]
MODERN: list[Dialect] = [JSONRPC, REST]
LISTING: list[Dialect] = [JSONRPC, REST, REST_03]
