"""Credentials of a client: what it proves, to whom, and where they come from."""
