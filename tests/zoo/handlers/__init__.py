"""One handler of every kind; `tests/zoo/twin.py` writes each by hand in plain FastAPI."""
