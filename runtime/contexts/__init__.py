"""Contexts: conversations that group tasks, their expiry and their events."""
