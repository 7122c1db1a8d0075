"""Strategies and samples for the tests of A2A 0.3 and of the cards."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from greenroom.protocol import types as t

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
NAME = st.text("abcdefghij-_", min_size=1, max_size=12)
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAME, inner, max_size=2),
    max_leaves=4,
)
# A part that needs no compat metadata gives `{}` back as it came; one that does, does not.
METADATA = st.none() | st.dictionaries(NAME, VALUE, min_size=1, max_size=2)
NAMES = st.none() | st.lists(NAME, min_size=1, max_size=2)
OPTIONAL = st.none() | NAME
MEDIA = st.sampled_from([None, "text/markdown", "image/png", "application/xml"])
ABOUT: dict[str, Any] = {"metadata": METADATA, "filename": OPTIONAL, "media_type": MEDIA}
PARTS = st.one_of(
    st.builds(t.Part, text=TEXT, **ABOUT),
    st.builds(t.Part, raw=st.binary(max_size=12), **ABOUT),
    st.builds(t.Part, url=NAME, **ABOUT),
    st.builds(t.Part, data=VALUE, **ABOUT),
)
MESSAGES = st.builds(
    t.Message,
    message_id=NAME,
    role=st.sampled_from([t.Role.USER, t.Role.AGENT]),
    parts=st.lists(PARTS, min_size=1, max_size=3),
    context_id=OPTIONAL,
    task_id=OPTIONAL,
    metadata=METADATA,
    extensions=NAMES,
    reference_task_ids=NAMES,
)
ARTIFACTS = st.builds(
    t.Artifact,
    artifact_id=NAME,
    parts=st.lists(PARTS, max_size=3),
    name=OPTIONAL,
    description=OPTIONAL,
    metadata=METADATA,
    extensions=NAMES,
)
STATUSES = st.builds(
    t.TaskStatus,
    state=st.sampled_from(t.TaskState),
    message=st.none() | MESSAGES,
    timestamp=st.sampled_from([None, "2025-10-28T10:30:00.000Z"]),
)
TASKS = st.builds(
    t.Task,
    id=NAME,
    status=STATUSES,
    context_id=OPTIONAL,
    artifacts=st.none() | st.lists(ARTIFACTS, min_size=1, max_size=2),
    history=st.none() | st.lists(MESSAGES, min_size=1, max_size=2),
    metadata=METADATA,
)
STATUS_UPDATES = st.builds(
    t.TaskStatusUpdateEvent, task_id=NAME, context_id=NAME, status=STATUSES, metadata=METADATA
)
ARTIFACT_UPDATES = st.builds(
    t.TaskArtifactUpdateEvent,
    task_id=NAME,
    context_id=NAME,
    artifact=ARTIFACTS,
    append=st.booleans(),
    last_chunk=st.booleans(),
    metadata=METADATA,
)
EVENTS = st.one_of(
    st.builds(t.StreamResponse, task=TASKS),
    st.builds(t.StreamResponse, message=MESSAGES),
    st.builds(t.StreamResponse, status_update=STATUS_UPDATES),
    st.builds(t.StreamResponse, artifact_update=ARTIFACT_UPDATES),
)
PUSH = st.builds(
    t.TaskPushNotificationConfig,
    url=NAME,
    id=NAME,
    task_id=NAME,
    token=OPTIONAL,
    authentication=st.none() | st.builds(t.AuthenticationInfo, scheme=NAME, credentials=OPTIONAL),
)
SENDS = st.builds(
    t.SendMessageRequest,
    message=MESSAGES,
    configuration=st.none()
    | st.builds(
        t.SendMessageConfiguration,
        accepted_output_modes=NAMES,
        task_push_notification_config=st.none()
        | st.builds(t.TaskPushNotificationConfig, url=NAME, id=OPTIONAL, token=OPTIONAL),
        history_length=st.none() | st.integers(1, 9),
        return_immediately=st.booleans(),
    ),
    metadata=METADATA,
)
