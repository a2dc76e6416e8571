"""The handler that measures payloads; found with HANDLERS=loadtest.capacity_handlers."""
