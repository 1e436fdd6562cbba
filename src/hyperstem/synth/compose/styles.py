"""The styles of the synthetic band: tempo, rhythm patterns, instruments and figures."""

from dataclasses import dataclass
from pathlib import Path

from hyperstem.config import from_mapping, load_toml


@dataclass(frozen=True)
class Style:
    """What the songs of one style have in common."""

    name: str
    bpm: tuple[int, int]
    """Lowest and highest tempo."""
    kick: str
    """Probability of a stroke in tenths, one digit per step of a bar."""
    snare: str
    """The same for the snare."""
    hats: tuple[str, ...]
    """Figures of hats and cymbals to choose from."""
    kits: tuple[str, ...]
    """Drum sounds to choose from."""
    lines: tuple[str, ...]
    """Bass figures to choose from."""
    basses: tuple[str, ...]
    """Bass sounds to choose from."""
    comps: tuple[tuple[str, str], ...]
    """(instrument, figure) pairs for the accompaniment."""
    singing: tuple[str, ...] = ("lyric", "lyric", "held")
    """Manners of singing to choose from."""
    modes: tuple[str, ...] = ("major", "minor", "mixolydian", "dorian")
    """Scales to choose from."""
    beats: int = 4
    """Beats in a bar."""
    steps: int = 4
    """Steps in a beat."""
    swing: tuple[float, float] = (0.0, 0.12)
    """Lowest and highest delay of off-beats, as a fraction of a step."""


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
