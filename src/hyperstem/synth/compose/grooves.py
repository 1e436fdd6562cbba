"""The drum part: strokes on the kit for a whole song."""

from collections.abc import Callable

import numpy as np

from hyperstem.synth.compose.score import Hit, Section, Song, stream

_FIGURES = {  # strokes in every beat: (position in the beat from 0 to 1, piece, velocity)
    "quarters": ((0.0, "hat", 0.8),),
    "eighths": ((0.0, "hat", 0.8), (0.5, "hat", 0.5)),
    "sixteenths": ((0.0, "hat", 0.8), (0.25, "hat", 0.35), (0.5, "hat", 0.6), (0.75, "hat", 0.35)),
    "offbeat": ((0.0, "hat", 0.25), (0.5, "open", 0.75)),
    "open": ((0.0, "open", 0.7), (0.5, "open", 0.5)),
    "ride": ((0.0, "ride", 0.8), (0.5, "ride", 0.45)),
    "claps": ((0.0, "shaker", 0.5), (0.25, "shaker", 0.3), (0.5, "open", 0.5), (0.75, "shaker", 0.3)),
    "swing": ((0.0, "ride", 0.75), (2 / 3, "ride", 0.45)),
    "triplets": ((0.0, "hat", 0.8), (1 / 3, "hat", 0.4), (2 / 3, "hat", 0.5)),
    "brushes": ((0.0, "shaker", 0.6), (0.5, "shaker", 0.35)),
    "rolls": ((0.0, "hat", 0.8), (0.25, "hat", 0.5), (0.5, "hat", 0.7), (0.75, "hat", 0.5)),
    "shaker": ((0.0, "shaker", 0.7), (0.25, "shaker", 0.3), (0.5, "shaker", 0.55), (0.75, "shaker", 0.35)),
    "latin": ((0.0, "shaker", 0.6), (0.25, "conga", 0.35), (0.5, "shaker", 0.5), (0.75, "conga", 0.5)),
    "toms": ((0.0, "floor", 0.7), (0.5, "floor", 0.45)),
    "none": (),
}


def play_drums(song: Song) -> list[Hit]:
    """All strokes of the song, in order of time."""
    rng = stream(song.seed, 1)
    figures = {kind: str(rng.choice(song.style.hats)) for kind in ("verse", "chorus", "bridge")}
    grooves = {kind: _groove(song, rng) for kind in ("verse", "chorus", "bridge")}
    if rng.random() < 0.6:
        grooves["chorus"] = grooves["verse"]
    percussion = str(rng.choice(["none", "none", "tambourine", "shaker", "cowbell", "clap"]))
    hits: list[Hit] = []
    for section in song.sections:
        if not section.drums:
            continue
        kind = section.kind if section.kind in grooves else "verse"
        extra = percussion if section.kind == "chorus" or rng.random() < 0.2 else "none"
        hits += _section(song, section, grooves[kind], figures[kind], extra, rng)
    loose_s = float(rng.uniform(0.001, 0.009)) if song.style.name not in ("house", "trap") else 0.0005
    humanised = [
        Hit(
            max(0.0, hit.start_s + float(rng.normal(0, loose_s))),
            hit.piece,
            float(np.clip(hit.velocity * rng.uniform(0.85, 1.1), 0.05, 1.0)),
        )
        for hit in hits
    ]
    return sorted(humanised)


def _groove(song: Song, rng: np.random.Generator) -> list[tuple[float, str, float]]:
    """One bar of kick and snare: (beat, piece, velocity)."""
    strokes: list[tuple[float, str, float]] = []
    backbeat = str(rng.choice(["snare", "snare", "snare", "rim", "clap"]))
    if song.style.name in ("rock", "metal", "shuffle", "indie"):
        backbeat = "snare"
    for piece, row in (("kick", song.style.kick), (backbeat, song.style.snare)):
        for i, digit in enumerate(row):
            if rng.random() * 10 < int(digit):
                strong = int(digit) >= 7
                strokes.append((i / song.style.steps, piece, 0.95 if strong else float(rng.uniform(0.35, 0.8))))
    ghosts = float(rng.choice([0.0, 0.0, 0.06, 0.15]))
    steps = len(song.style.kick)
    strokes += [
        (i / song.style.steps, "snare", float(rng.uniform(0.1, 0.25)))
        for i in range(1, steps, 2)
        if rng.random() < ghosts
    ]
    return strokes


def _section(
    song: Song,
    section: Section,
    groove: list[tuple[float, str, float]],
    figure: str,
    extra: str,
    rng: np.random.Generator,
) -> list[Hit]:
    """The bars of a section: groove, hats, a crash at the start and a fill at the end."""
    beats = song.style.beats
    hits: list[Hit] = []

    def strike(beat: float, piece: str, velocity: float) -> None:
        hits.append(Hit(song.seconds(beat), piece, velocity * (0.75 + 0.25 * section.energy)))

    for bar in range(section.bars):
        start = (section.start_bar + bar) * beats
        fill = bar == section.bars - 1 and section.bars >= 4 and rng.random() < 0.75
        fill_beats = float(rng.choice([1, 1, 2, beats])) if fill else 0.0
        for beat, piece, velocity in groove:
            if beat < beats - fill_beats and (velocity > 0.6 or rng.random() < 0.85):
                strike(start + beat, piece, velocity)
        for beat in range(int(beats - fill_beats)):
            for offset, piece, velocity in _FIGURES[figure]:
                if offset == 0.75 and rng.random() < 0.15:
                    piece = "open" if piece == "hat" else piece
                strike(start + beat + offset, piece, velocity)
            if figure == "rolls" and rng.random() < 0.2:
                for i in range(int(rng.choice([6, 8, 12]))):
                    strike(start + beat + i / 12, "hat", 0.45)
            if extra != "none" and (extra != "clap" or beat % 2 == 1):
                strike(start + beat, extra, 0.7)
                if extra in ("tambourine", "shaker"):
                    strike(start + beat + 0.5, extra, 0.45)
        if fill:
            _fill(song, start + beats - fill_beats, fill_beats, strike, rng)
        if bar == 0 and (section.energy > 0.5 or rng.random() < 0.3) and figure != "none":
            strike(start, "crash" if rng.random() < 0.85 else "china", 0.9)
    return hits


def _fill(
    song: Song, beat: float, beats: float, strike: Callable[[float, str, float], None], rng: np.random.Generator
) -> None:
    """A fill: strokes from the snare down to the floor tom."""
    steps = song.style.steps
    pieces = ["snare", "tom", "mid", "floor"]
    for i in range(int(beats * steps)):
        if rng.random() < 0.8:
            down = min(3, int(4 * i / (beats * steps) + rng.uniform(-0.6, 0.9)))
            strike(beat + i / steps, pieces[max(0, down)], float(rng.uniform(0.5, 0.95)))
        if i % steps == 0 and rng.random() < 0.6:
            strike(beat + i / steps, "kick", 0.8)
