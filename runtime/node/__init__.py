"""One process of the server: its lease, housekeeping, readiness and shutdown."""
