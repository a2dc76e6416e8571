"""Running the whole system: on one machine, in tests, in containers."""
