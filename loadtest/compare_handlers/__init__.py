"""The handler of the comparison; found with HANDLERS=loadtest.compare_handlers."""
