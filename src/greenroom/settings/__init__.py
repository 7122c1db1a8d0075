"""Settings of the server: files, variables and flags become one object."""
