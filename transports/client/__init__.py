"""The client side: discovery, HTTP and the peer."""
