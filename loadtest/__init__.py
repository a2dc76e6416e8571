"""Load tests; they talk HTTP only."""
