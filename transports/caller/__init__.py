"""What a transport knows of the caller: address, proxies, certificates."""
