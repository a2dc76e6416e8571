"""Task in, reply out. Must not import `gateway_app`."""
