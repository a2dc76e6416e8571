"""The handler that measures payloads; found with FLOODGATE_HANDLERS=loadtest.capacity_handlers."""
