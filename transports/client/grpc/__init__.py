"""The gRPC binding of the client, on h2."""
