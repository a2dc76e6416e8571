"""HTTP in, task out, reply back. Must not import `worker_app`."""
