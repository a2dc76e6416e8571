"""Your functions. Every module in this package is imported and its `@queued` functions are served."""
