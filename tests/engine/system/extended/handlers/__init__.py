"""Handlers behind keys, and handlers that plain routes call."""
