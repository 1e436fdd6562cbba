"""Argument types for argparse: numbers, durations, paths and lists of names, with consistent error messages."""

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path

from hyperstem.files import user_path


def number(least: float, most: float = math.inf, above: bool = False) -> Callable[[str], float]:
    """A type of finite numbers from `least`, or above it, to `most`."""
    wanted = f"it must be above {least:g}" if above else _allowed(least, most)

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least <= value <= most and math.isfinite(value)) or (above and value == least):
            raise argparse.ArgumentTypeError(f"is {text}; {wanted}")
        return value

    return read


def whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    """A type of whole numbers from `least` to `most`."""

    def read(text: str) -> int:
        if not (text.removeprefix("-").isdecimal() and text.isascii() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"is {text}; {_allowed(least, most)}, whole")
        return int(text)

    return read


def _allowed(least: float, most: float) -> str:
    return f"allowed are {least:.10g} to {most:.10g}" if math.isfinite(most) else f"allowed are {least:g} and more"


positive = number(0, above=True)
positive_int = whole(1)
port = whole(0, (1 << 16) - 1)
"""A TCP port; 0 is any free one."""
seconds = number(0, 1e9)
"""A duration of sound, up to an arbitrary large limit."""


def rate(text: str) -> int | None:
    """A sample rate, or None for "input"."""
    return None if text == "input" else whole(1000, 768_000)(text)


def bits_per_second(text: str) -> int:
    """A bit rate: 320k, 320kbps, 320000, or 320; numbers below 1000 are taken as kbit/s."""
    digits = text.lower().removesuffix("bps").removesuffix("bit/s").removesuffix("b")
    value = digits.removesuffix("k")
    if not (value.isdecimal() and value.isascii() and 0 < int(value) < 10_000_000):
        raise argparse.ArgumentTypeError(f"is {text}; expected a bit rate, for example 320k")
    return int(value) * (1000 if digits != value or int(value) < 1000 else 1)


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError(f"is {text}; expected names, for example vocals,drums")
    return found


def place(text: str) -> Path | str:
    """A path, or a URL unchanged."""
    return text if re.match(r"[A-Za-z][A-Za-z0-9]*://", text) else path(text)


def path(text: str) -> Path:
    """A path, with ~ expanded to the home folder, which shells do not do in --output=~/x."""
    return user_path(text)
