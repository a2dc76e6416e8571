"""How long handlers take where the order of turns is measured: 0.2 s in the mean, as in profile P1, and never alike.

Were it constant, places that a flood filled at once would come free at once, for ever: whoever comes
next waits up to a whole service time, whatever the order, and only that would be measured.
"""

from __future__ import annotations

import random

LEAST_S, MOST_S = 0.1, 0.3


def varied_s(request_id: str) -> float:
    """Return how long this request takes: the same in every run."""
    return random.Random(request_id).uniform(LEAST_S, MOST_S)
