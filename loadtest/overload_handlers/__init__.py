"""Handlers of the overload profiles and parts: one module for each, discovered alone (`FLOODGATE_HANDLERS`)."""
