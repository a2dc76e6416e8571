"""What locust runs: users that ask for what `scenarios.py` says, at the pace and in the shape of `make peak`."""

from __future__ import annotations

from floodgate.peak.users import PeakUser, shape
from loadtest import scenarios


class User(PeakUser):
    scenarios = scenarios


Shape = shape()
