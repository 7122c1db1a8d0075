"""How a client follows a task: streams that are resumed, polls, and webhooks that wake it."""
