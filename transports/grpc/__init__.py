"""gRPC: both A2A services on one port, over h2 with a gRPC layer of our own.

Nothing here is imported unless a gRPC port is asked for: ``pip install 'greenroom[grpc]'``.
"""
