"""The one table of colours: what stands for an answer and for a face on photos, in plots and on pages.

They are of Okabe and Ito's palette (2008), which colour-blind people can tell apart. RGB 0-255.
"""

from __future__ import annotations

Colour = tuple[int, int, int]

FACES: dict[str, Colour] = {"masked": (0, 158, 115), "bare": (213, 94, 0)}
"""Bluish green and vermilion."""
ANSWERS: dict[str, Colour] = {
    "all": FACES["masked"], "none": FACES["bare"], "some": (204, 121, 167), "nobody": (120, 120, 120),
}  # fmt: skip
"""``some`` is reddish purple."""
UNSURE: Colour = (230, 159, 0)
"""Orange: an answer that a person should look at."""
NOT_COUNTED: Colour = (150, 150, 150)
"""A face that doesn't count."""
SERIES: tuple[Colour, Colour, Colour] = ((0, 114, 178), (166, 118, 29), (86, 180, 233))
"""Blue, brown, sky blue, for curves and bars that stand for no answer; they read on white and on black."""


def css(colour: Colour) -> str:
    """``#rrggbb``."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
