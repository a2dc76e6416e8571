"""The handlers of the benchmark; found with FLOODGATE_HANDLERS=loadtest.bench_handlers."""
