"""One handler of every kind; `tests/engine/conformance/reference.py` writes each by hand in plain FastAPI."""
