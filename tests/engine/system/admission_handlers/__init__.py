"""Handlers that use what a route may ask of the door."""
