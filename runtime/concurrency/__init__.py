"""Supervision, lanes of timed work and signals: the only room that knows which event loop runs."""
