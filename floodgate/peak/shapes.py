"""Shapes of a load: how many times its base rate is asked for, over the course of a run.

Pure functions of the share of the run that is over, 0 to 1. Must not know what
the rate is, how long a run takes, or what sends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Shape = Callable[[float], float]

TIMES = 5.0
"""What a peak is: so many times the base."""


def steady(done: float) -> float:
    """The base, all the time."""
    return 1.0


def step(done: float) -> float:
    """Once, twice … five times the base, each for a fifth of the run."""
    return float(min(int(done * TIMES), TIMES - 1) + 1)


def spike(done: float) -> float:
    """The base, and five times that for a tenth of the run."""
    return TIMES if 0.4 <= done < 0.5 else 1.0


def wave(done: float) -> float:
    """Two waves between the base and five times that, as a day has them."""
    return 1 + (TIMES - 1) * (1 - math.cos(4 * math.pi * done)) / 2


def peak(done: float) -> float:
    """Warm up, the base, five times the base for a third of the run, and the base again to watch the recovery."""
    if done < 0.1:
        return 0.5
    return TIMES if 0.27 <= done < 0.6 else 1.0


SHAPES: Mapping[str, Shape] = {shape.__name__: shape for shape in (peak, steady, step, spike, wave)}
