"""Every speed claim as a command: `make bench`, or `python -m bench send stream`."""
