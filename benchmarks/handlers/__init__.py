"""Handlers of the benchmarks: a module for each system under test, named by the setting HANDLERS."""
