"""Handlers: how one is run, what it is given and how its end becomes a state."""
