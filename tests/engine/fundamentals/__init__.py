"""The concepts, as tests to read first; in this order: slots, leases, promises."""
