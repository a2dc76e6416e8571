"""The handlers of the benchmark; found with HANDLERS=loadtest.bench_handlers."""
