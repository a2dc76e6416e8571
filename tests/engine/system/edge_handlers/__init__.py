"""Handlers for the odd cases; what they do beside answering is noted in the file `ODD_NOTES`."""
