"""The task actor: the one object that changes a task, and the system that owns all actors."""
