"""The styles the synthetic band plays: tempo, feel, and how likely each stroke and each instrument is.

Rhythm strings hold one digit per step, a step being a quarter of a beat (a third in shuffles): the digit is the
probability in tenths that the song's pattern has a stroke there. Every song draws its own patterns from them.
"""

from dataclasses import dataclass


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


STYLES = (
    Style(
        "rock",
        (98, 150),
        "9010002082400020",
        "0000900000009001",
        ("eighths", "ride", "open", "quarters"),
        ("rock", "dry", "rock"),
        ("roots", "pattern", "roots", "melodic"),
        ("picked", "fingered", "driven"),
        (
            ("power", "chug"),
            ("electric", "strum"),
            ("organ", "hold"),
            ("power", "hold"),
            ("piano", "eighths"),
            ("lead", "melody"),
        ),
    ),
    Style(
        "metal",
        (120, 190),
        "9060605090606050",
        "0000900000009000",
        ("ride", "open", "eighths"),
        ("tight", "rock"),
        ("unison", "roots"),
        ("picked", "driven"),
        (("power", "chug"), ("power", "chug"), ("lead", "melody"), ("pad", "hold")),
        ("lyric", "shouted", "held"),
        ("minor", "phrygian", "dorian"),
    ),
    Style(
        "pop",
        (88, 128),
        "9000002270050010",
        "0000900000009000",
        ("eighths", "sixteenths", "claps"),
        ("dry", "electro", "rock"),
        ("pattern", "roots", "melodic", "held"),
        ("fingered", "synth", "sub", "muted"),
        (
            ("piano", "eighths"),
            ("pad", "hold"),
            ("electric", "arpeggio"),
            ("acoustic", "strum"),
            ("bell", "arpeggio"),
            ("strings", "hold"),
            ("lead", "melody"),
            ("epiano", "stabs"),
        ),
    ),
    Style(
        "funk",
        (92, 118),
        "9002003104400300",
        "0010900200209002",
        ("sixteenths", "open", "offbeat"),
        ("dry", "tight"),
        ("funk", "octaves", "pattern"),
        ("slap", "fingered", "synth", "muted"),
        (
            ("electric", "scratch"),
            ("clavinet", "funk"),
            ("organ", "stabs"),
            ("brass", "stabs"),
            ("epiano", "stabs"),
            ("lead", "melody"),
        ),
        ("lyric", "rap", "lyric"),
        ("dorian", "minor", "mixolydian"),
    ),
    Style(
        "house",
        (116, 132),
        "9000900090009000",
        "0000700000007000",
        ("offbeat", "sixteenths", "claps"),
        ("electro", "electro", "tight"),
        ("octaves", "pattern", "offbeat", "held"),
        ("synth", "sub", "reese", "fm"),
        (
            ("pluck", "arpeggio"),
            ("pad", "hold"),
            ("piano", "stabs"),
            ("organ", "stabs"),
            ("saw", "stabs"),
            ("bell", "arpeggio"),
            ("lead", "melody"),
        ),
        ("held", "lyric"),
        ("minor", "dorian", "major"),
    ),
    Style(
        "ballad",
        (58, 84),
        "9000001050200010",
        "0000900000009000",
        ("eighths", "ride", "quarters"),
        ("dry", "brush", "rock"),
        ("held", "roots", "melodic"),
        ("fingered", "upright", "fretless"),
        (
            ("piano", "arpeggio"),
            ("strings", "hold"),
            ("acoustic", "arpeggio"),
            ("epiano", "hold"),
            ("pad", "hold"),
            ("electric", "arpeggio"),
        ),
        ("held", "lyric"),
        ("major", "minor"),
    ),
    Style(
        "reggae",
        (66, 92),
        "0000000090000002",
        "0000000090000000",
        ("eighths", "offbeat", "sixteenths"),
        ("tight", "dry"),
        ("melodic", "pattern", "offbeat"),
        ("sub", "fingered", "muted"),
        (("organ", "skank"), ("electric", "skank"), ("clavinet", "funk"), ("brass", "melody")),
        ("lyric", "rap"),
        ("minor", "major", "mixolydian"),
    ),
    Style(
        "hiphop",
        (72, 98),
        "9002003102400310",
        "0000900100009002",
        ("eighths", "sixteenths", "offbeat"),
        ("electro", "dusty", "dry"),
        ("held", "pattern", "melodic"),
        ("sub", "fingered", "eightoheight", "upright"),
        (
            ("epiano", "hold"),
            ("strings", "stabs"),
            ("bell", "arpeggio"),
            ("piano", "stabs"),
            ("pad", "hold"),
            ("pluck", "melody"),
        ),
        ("rap", "rap", "lyric"),
        ("minor", "dorian", "phrygian"),
        swing=(0.05, 0.35),
    ),
    Style(
        "trap",
        (64, 80),
        "9003002004300200",
        "0000000090000000",
        ("rolls", "sixteenths"),
        ("electro",),
        ("held", "pattern"),
        ("eightoheight", "eightoheight", "sub"),
        (("bell", "arpeggio"), ("pad", "hold"), ("pluck", "arpeggio"), ("strings", "hold"), ("piano", "stabs")),
        ("rap", "lyric", "held"),
        ("minor", "phrygian"),
    ),
    Style(
        "country",
        (90, 180),
        "9000000090000000",
        "0020903000209030",
        ("eighths", "quarters", "ride"),
        ("dry", "brush"),
        ("fifths", "fifths", "walking"),
        ("fingered", "upright", "picked"),
        (
            ("acoustic", "strum"),
            ("electric", "arpeggio"),
            ("banjo", "arpeggio"),
            ("piano", "stabs"),
            ("strings", "melody"),
            ("organ", "hold"),
        ),
        ("lyric", "held"),
        ("major", "mixolydian"),
    ),
    Style(
        "jazz",
        (96, 190),
        "401001301001",
        "002009002009",
        ("swing", "swing", "brushes"),
        ("brush", "jazz"),
        ("walking", "walking", "melodic"),
        ("upright", "fretless", "fingered"),
        (
            ("piano", "stabs"),
            ("electric", "stabs"),
            ("epiano", "stabs"),
            ("brass", "melody"),
            ("organ", "hold"),
            ("lead", "melody"),
        ),
        ("lyric", "held"),
        ("major", "minor", "dorian"),
        steps=3,
        swing=(0.0, 0.1),
    ),
    Style(
        "shuffle",
        (76, 130),
        "900002900102",
        "000900000901",
        ("swing", "quarters", "triplets"),
        ("rock", "dry"),
        ("walking", "roots", "pattern"),
        ("fingered", "picked", "muted"),
        (
            ("electric", "strum"),
            ("organ", "stabs"),
            ("piano", "triplets"),
            ("power", "chug"),
            ("brass", "stabs"),
            ("lead", "melody"),
        ),
        ("lyric", "shouted"),
        ("mixolydian", "minor", "blues"),
        steps=3,
    ),
    Style(
        "jungle",
        (150, 176),
        "9000010000910000",
        "0000900210009010",
        ("sixteenths", "ride", "eighths"),
        ("tight", "electro"),
        ("held", "pattern", "offbeat"),
        ("reese", "sub", "fm"),
        (("pad", "hold"), ("saw", "stabs"), ("epiano", "hold"), ("pluck", "arpeggio"), ("strings", "hold")),
        ("held", "rap"),
        ("minor", "dorian"),
    ),
    Style(
        "latin",
        (84, 130),
        "9002000290020002",
        "0002002000200200",
        ("latin", "sixteenths", "shaker"),
        ("latin", "brush", "dry"),
        ("fifths", "octaves", "melodic"),
        ("upright", "fingered", "fretless"),
        (("acoustic", "bossa"), ("piano", "bossa"), ("brass", "stabs"), ("epiano", "hold"), ("strings", "melody")),
        ("lyric", "held"),
        ("minor", "major", "dorian"),
    ),
    Style(
        "waltz",
        (84, 150),
        "900000000000",
        "000040004000",
        ("quarters", "ride", "brushes"),
        ("brush", "dry", "rock"),
        ("fifths", "roots", "held"),
        ("upright", "fingered"),
        (("piano", "waltz"), ("acoustic", "waltz"), ("strings", "hold"), ("organ", "hold"), ("electric", "arpeggio")),
        ("held", "lyric"),
        ("major", "minor", "dorian"),
        beats=3,
    ),
    Style(
        "disco",
        (104, 126),
        "9000900090009000",
        "0000900000009000",
        ("offbeat", "open", "sixteenths"),
        ("dry", "tight"),
        ("octaves", "octaves", "funk"),
        ("fingered", "picked", "synth", "slap"),
        (("electric", "scratch"), ("strings", "melody"), ("epiano", "stabs"), ("brass", "stabs"), ("piano", "eighths")),
        ("lyric", "held"),
        ("minor", "dorian", "major"),
    ),
    Style(
        "indie",
        (108, 160),
        "9000003080300030",
        "0000900000009000",
        ("eighths", "toms", "sixteenths", "open"),
        ("dusty", "dry", "rock"),
        ("roots", "melodic", "roots"),
        ("picked", "driven", "fingered", "synth"),
        (
            ("electric", "strum"),
            ("electric", "arpeggio"),
            ("saw", "hold"),
            ("organ", "hold"),
            ("lead", "melody"),
            ("piano", "eighths"),
        ),
        ("lyric", "held", "shouted"),
    ),
    Style(
        "folk",
        (76, 130),
        "5000000040000000",
        "0000300000003000",
        ("shaker", "quarters", "none"),
        ("brush", "latin"),
        ("roots", "fifths", "held"),
        ("upright", "fretless", "fingered"),
        (
            ("acoustic", "arpeggio"),
            ("acoustic", "strum"),
            ("strings", "melody"),
            ("piano", "arpeggio"),
            ("organ", "hold"),
            ("banjo", "arpeggio"),
        ),
        ("lyric", "held"),
        ("major", "dorian", "mixolydian", "minor"),
    ),
)

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "blues": (0, 3, 5, 6, 7, 10, 10),
}
