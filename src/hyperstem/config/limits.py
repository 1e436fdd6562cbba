"""Limits of numbers in settings, given with the field's type: ``share: Annotated[float, Limits(0, 1)] = 0.5``."""

import math
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Limits:
    """Bounds of a number, or of each number in a list or table; without bounds, any finite number is allowed."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    """Exclusive lower bound."""
    below: float = math.inf
    """Exclusive upper bound."""

    def allow(self, number: float) -> bool:
        """Whether `number` is finite and within all bounds."""
        return self.least <= number <= self.most and self.above < number < self.below

    def __str__(self) -> str:
        bounds = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        given = [f"{words} {bound:.10g}" for words, bound in bounds.items() if math.isfinite(bound)]
        return " and ".join(given) or "a finite number"


FINITE = Limits()
Share = Annotated[float, Limits(0, 1)]
Positive = Annotated[float, Limits(above=0)]
NotNegative = Annotated[float, Limits(0)]
Count = Annotated[int, Limits(1)]
"""1, 2, 3, ..."""
Whole = Annotated[int, Limits(0)]
"""0, 1, 2, ..."""
