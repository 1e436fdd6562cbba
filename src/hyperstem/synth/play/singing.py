"""The vocals: a melody of syllables over the chords, harmonies and a choir."""

import numpy as np

from hyperstem.synth.compose.score import Section, Song, Syllable, stream

CONSONANTS = ("", "", *"m n l r w y s sh f h t k p d g b v z th ch".split())  # noqa: SIM905 (shorter)
VOWELS = ("a", "e", "i", "o", "u", "ae", "uh", "er", "oo", "aw")


def play_vocals(song: Song, low: float, high: float) -> tuple[str, list[list[Syllable]]]:
    """The manner and the phrases of the lead vocals.

    Args:
        song: the song.
        low: lowest comfortable MIDI pitch of the singer.
        high: highest comfortable MIDI pitch.
    """
    rng = stream(song.seed, 4)
    manner = str(rng.choice(song.style.singing))
    words = [_word(rng) for _ in range(10)]
    hooks = {kind: [_motif(song, manner, rng) for _ in range(2)] for kind in ("verse", "chorus")}
    phrases: list[list[Syllable]] = []
    for section in song.sections:
        if not section.vocals:
            continue
        motifs = hooks["chorus" if section.kind == "chorus" else "verse"]
        lift = 0.6 if section.kind == "chorus" else 0.35
        texts = [[int(rng.integers(len(words))) for _ in range(8)] for _ in range(2)]
        for bar in range(0, section.bars, 2):
            if bar and rng.random() < 0.06:
                continue
            which = (bar // 2) % 2
            phrase = _phrase(
                song, section, bar, motifs[which], [words[i] for i in texts[which]], manner, low, high, lift, rng
            )
            if phrase:
                phrases.append(phrase)
    return manner, phrases


def _word(rng: np.random.Generator) -> list[tuple[str, str]]:
    return [(str(rng.choice(CONSONANTS)), str(rng.choice(VOWELS))) for _ in range(int(rng.choice([1, 1, 2, 2, 3])))]


def _motif(song: Song, manner: str, rng: np.random.Generator) -> list[tuple[float, float, int]]:
    """Two bars of a melody: (beat, beats, steps along the scale from the previous note)."""
    beats = song.style.beats * 2
    lengths = {
        "lyric": (0.5, 0.5, 0.5, 1.0, 1.0, 1.5, 2.0),
        "held": (1.0, 2.0, 2.0, 3.0, 4.0),
        "shouted": (0.5, 0.5, 1.0, 1.0, 1.5),
        "rap": (0.25, 0.25, 0.25, 0.5, 0.5),
    }[manner]
    if song.style.steps == 3:
        lengths = tuple(round(length * 3) / 3 for length in lengths if length >= 0.3) or (1 / 3, 2 / 3)
    at = float(rng.choice([0.0, 0.0, 0.5, 1.0]))
    end = beats - float(rng.choice([0.5, 1.0, 1.5, 2.0]))
    motif = []
    while at < end:
        length = min(float(rng.choice(lengths)), end - at)
        if song.bpm > 130 and manner != "held":
            length = min(length * 2, end - at)
        if length < 0.2:
            break
        if rng.random() > 0.1:
            motif.append((at, length, int(rng.choice([-2, -1, -1, 0, 0, 1, 1, 2, 3, -3]))))
        at += length
    return motif


def _phrase(
    song: Song,
    section: Section,
    bar: int,
    motif: list[tuple[float, float, int]],
    words: list[list[tuple[str, str]]],
    manner: str,
    low: float,
    high: float,
    lift: float,
    rng: np.random.Generator,
) -> list[Syllable]:
    """The motif over the chords of two bars: chord tones on strong beats, scale steps elsewhere."""
    first = (section.start_bar + bar) * song.style.beats
    last = (section.start_bar + section.bars) * song.style.beats
    ladder = [pitch for pitch in range(int(low), int(high) + 1) if pitch % 12 in song.scale]
    at = int(len(ladder) * np.clip(lift + rng.normal(0, 0.1), 0.1, 0.9))
    text = [syllable for word in words for syllable in word]
    phrase: list[Syllable] = []
    for i, (beat, beats, move) in enumerate(motif):
        if first + beat >= last:
            break
        at = int(np.clip(at + move, 0, len(ladder) - 1))
        pitch = ladder[at]
        if beats >= 1 or beat % 2 == 0:
            chord = song.chord_at(first + beat)
            tones = [tone for tone in range(int(low), int(high) + 1) if tone % 12 in chord.tones] or [pitch]
            pitch = min(tones, key=lambda tone: abs(tone - pitch))
            at = int(np.clip(np.searchsorted(ladder, pitch), 0, len(ladder) - 1))
        consonant, vowel = text[i % len(text)]
        start, end = song.seconds(first + beat), song.seconds(min(first + beat + beats, last))
        length = (end - start) * (0.9 if manner == "rap" else float(rng.uniform(0.85, 1.0)))
        loud = float(np.clip((0.65 + 0.3 * section.energy) * rng.uniform(0.8, 1.1), 0.2, 1.0))
        if start < song.duration_s:
            phrase.append(Syllable(start, max(0.06, length), float(pitch), loud, consonant, vowel, i == 0))
        if beats >= 1.5 and rng.random() < 0.15 and phrase:  # a melisma: two notes on one vowel
            half = phrase[-1]
            step = ladder[int(np.clip(at + rng.choice([-1, 1]), 0, len(ladder) - 1))]
            phrase[-1] = half._replace(duration_s=half.duration_s * 0.6)
            turn_s = half.start_s + half.duration_s * 0.6
            phrase.append(Syllable(turn_s, half.duration_s * 0.4, float(step), loud, "", vowel, False))
    return phrase


def harmony(song: Song, phrases: list[list[Syllable]], steps: int, low: float, high: float) -> list[list[Syllable]]:
    """The phrases of choruses and bridges, moved by `steps` scale steps."""
    ladder = [pitch for pitch in range(24, 100) if pitch % 12 in song.scale]
    bar_s = song.style.beats * 60.0 / song.bpm
    spans = [
        (section.start_bar * bar_s, (section.start_bar + section.bars) * bar_s)
        for section in song.sections
        if section.kind in ("chorus", "bridge")
    ]
    result = []
    for phrase in phrases:
        if not any(start <= phrase[0].start_s < end for start, end in spans):
            continue
        moved = []
        for syllable in phrase:
            at = int(np.clip(np.searchsorted(ladder, syllable.pitch) + steps, 0, len(ladder) - 1))
            pitch = float(ladder[at])
            while pitch > high + 4:
                pitch -= 12
            while pitch < low - 4:
                pitch += 12
            moved.append(syllable._replace(pitch=pitch))
        result.append(moved)
    return result


def choir(song: Song, low: float, high: float) -> list[list[Syllable]]:
    """One voice of a backing choir: held vowels on the chords of choruses and bridges."""
    rng = stream(song.seed, 5, int(low))
    vowel = str(rng.choice(["oo", "a", "o"]))
    centre = (low + high) / 2 + float(rng.normal(0, 3))
    phrases = []
    for section in song.sections:
        if section.kind not in ("chorus", "bridge"):
            continue
        for chord in section.chords:
            start, end = song.seconds(chord.start_beat), song.seconds(chord.start_beat + chord.beats * 0.95)
            if start >= song.duration_s:
                continue
            tones = [p for p in range(int(low), int(high)) if p % 12 in chord.tones]
            if tones:
                pitch = min(tones, key=lambda tone: abs(tone - centre))
                phrases.append([Syllable(start, end - start, float(pitch), 0.6, "", vowel, False)])
    return phrases
