"""Handlers for the edge cases; what they do beside answering is noted in the file `NOTES_FILE`."""
