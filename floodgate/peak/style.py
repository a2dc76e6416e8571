"""How pictures of a load look: colours, axes, and how they are saved.

Owns the style. Must not know what is drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]
import matplotlib.pyplot as plt  # type: ignore[import-not-found, unused-ignore]

INK, QUIET, FAINT = "#1f2933", "#7b8794", "#e4e7eb"
GOOD, REFUSED, BAD, OFFERED, BLUE = "#1b7f5c", "#d98e1f", "#c2452d", "#52606d", "#2f6fb3"
"""In time, refused, late or in error, asked for; blue is for whatever is none of these."""
MANY = (BLUE, GOOD, REFUSED, "#8e5ea2", BAD, "#3aa6a0")
"""For several of a kind."""


def set_style() -> None:
    """Let matplotlib draw without a screen, in the style of the house."""
    mpl.use("Agg")
    plt.rcParams |= {
        "axes.edgecolor": QUIET,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "figure.facecolor": "white",
        "font.size": 9,
        "grid.color": FAINT,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "savefig.dpi": 120,
        "text.color": INK,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
    }


def save(figure: Any, file: Path) -> Path:
    """Write a figure to a file and forget it."""
    figure.savefig(file, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)
    return file
