"""What `from floodgate import …` gives, and what it needs for that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import floodgate
import shared

ROOT = Path(__file__).parents[3]


def test_the_face_is_these_names_and_shared_passes_them_on() -> None:
    names = ["Caller", "Context", "HTTPError", "Head", "Rate", "Reply", "Resource", "queued"]
    assert floodgate.__all__ == shared.__all__ == names
    assert all(getattr(floodgate, name) is getattr(shared, name) for name in names)


def test_it_is_imported_with_nothing_installed() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import floodgate; print(*floodgate.__all__)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.split()) == ("", floodgate.__all__)
