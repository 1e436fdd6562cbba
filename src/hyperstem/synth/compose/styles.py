"""The styles the synthetic band plays: tempo, feel, and how likely each stroke and each instrument is."""

from dataclasses import dataclass
from pathlib import Path

from hyperstem.config import from_mapping, load_toml


@dataclass(frozen=True)
class Style:
    """What songs of one style have in common."""

    name: str
    bpm: tuple[int, int]
    """Lowest and highest tempo."""
    kick: str
    """Stroke probabilities over one bar, in tenths, like those of `snare`."""
    snare: str
    hats: tuple[str, ...]
    """Time-keeping figures to choose from."""
    kits: tuple[str, ...]
    """Drum sounds to choose from."""
    lines: tuple[str, ...]
    """Bass figures to choose from; `basses` are their sounds."""
    basses: tuple[str, ...]
    comps: tuple[tuple[str, str], ...]
    """(instrument, figure) pairs for the accompaniment."""
    singing: tuple[str, ...] = ("lyric", "lyric", "held")
    """Ways of singing to choose from."""
    modes: tuple[str, ...] = ("major", "minor", "mixolydian", "dorian")
    """Scales to choose from."""
    beats: int = 4
    """Beats in a bar."""
    steps: int = 4
    """Steps in a beat."""
    swing: tuple[float, float] = (0.0, 0.12)
    """Lowest and highest delay of off-beat steps, as a share of a step."""


STYLES = tuple(
    from_mapping(Style, style, "styles.toml") for style in load_toml(Path(__file__).with_name("styles.toml"))["styles"]
)

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "blues": (0, 3, 5, 6, 7, 10, 10),
}
