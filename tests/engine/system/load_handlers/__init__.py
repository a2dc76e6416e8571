"""Handlers for tests of the load tools: quick, slow, and one that takes a body."""
