"""The handler of the comparison; found with FLOODGATE_HANDLERS=loadtest.compare_handlers."""
