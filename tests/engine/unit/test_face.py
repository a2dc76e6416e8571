"""What `from floodgate import …` gives; `test_bare_imports.py` shows that it needs nothing installed."""

from __future__ import annotations

import floodgate
import shared


def test_the_face_is_these_names_and_shared_passes_them_on() -> None:
    names = ["Caller", "Context", "HTTPError", "Head", "Idempotency", "Rate", "Reply", "Resource", "queued"]
    assert floodgate.__all__ == shared.__all__ == names
    assert all(getattr(floodgate, name) is getattr(shared, name) for name in names)
