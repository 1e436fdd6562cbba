"""Training examples: which crops of which tracks are mixed, and at what level."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hyperstem.config import DataConfig
from hyperstem.data.augment import (
    PROXIMITY_HZ,
    change_speed,
    draw_speed,
    proximity_effect,
    random_effects,
    random_pan,
)
from hyperstem.data.library import Library, PreparedTrack, Source
from hyperstem.errors import DataError

MATCH_LIMIT_DB = 20.0
ALONE_SOLO = 0.75
"""In a remix that keeps only one or two stems: the probability that a stem with solo sources is drawn from them."""


class Example(NamedTuple):
    """One training example at the top rate, not yet normalised."""

    stems: np.ndarray
    """(stem, channel, time) float32; the mixture is their sum."""
    sums: Mapping[str, tuple[str, ...]]
    """Stems known only as a sum: from the stem whose row holds the sum to all stems in the sum."""


class _Pool(NamedTuple):
    """Tracks to draw from."""

    tracks: tuple[PreparedTrack, ...]
    cumulative: np.ndarray
    """Cumulative probability of each track; the last is 1."""

    def draw(self, rng: np.random.Generator) -> PreparedTrack:
        return self.tracks[min(int(np.searchsorted(self.cumulative, rng.random(), side="right")), len(self.tracks) - 1)]


class Mixer:
    """Draws examples from a library of prepared tracks.

    Args:
        library: the tracks.
        config: how to draw and augment them.
        stems: the model's stems, in order.
        rate_hz: the rate the tracks are prepared at.
        channels: 1 or 2.
        length: samples per example.
    """

    def __init__(
        self, library: Library, config: DataConfig, stems: Sequence[str], rate_hz: int, channels: int, length: int
    ) -> None:
        self.config, self.stems = config, tuple(stems)
        self.rate_hz, self.channels, self.length = rate_hz, channels, length
        draw = config.mixing.draw
        songs = _pool(library.songs, draw)
        if songs is None:
            raise DataError("no source with whole songs has a track")
        self._songs = songs
        self._stem_songs = {stem: _pool(library.songs, draw, stem) for stem in stems}
        self._stem_solos = {stem: _pool(library.solos, draw, stem) for stem in stems}
        self._typical_db = {stem: _median_level(library, stem) for stem in stems}
        self._solo_sources = {source.config.name: source.config for source in library.solos}
        self._starts: dict[tuple[str, str, str, int], np.ndarray] = {}

    def example(self, rng: np.random.Generator, remix: bool) -> Example:
        """One example: all stems from one position of one song or, with `remix`, each stem from a different song."""
        alone = bool(self.config.mixing.alone) and rng.random() < self.config.mixing.alone
        stems, sums = self._remix(rng, alone) if remix else self._song(rng)
        stems = self._apply_gains(self._drop_stems(stems, alone, rng), rng)
        return Example(self._augment(stems, rng), sums)

    def _song(self, rng: np.random.Generator) -> tuple[np.ndarray, Mapping[str, tuple[str, ...]]]:
        """A crop of one song (stem, channel, time), and the song's sums."""
        track = self._songs.draw(rng)
        candidates = [stem for stem in self.stems if track.has_signal(stem)] or list(self.stems)
        active_stem = candidates[rng.integers(len(candidates))]
        speed = draw_speed(self.config.augment, rng)
        needed = int(np.ceil(self.length * speed)) + 1
        start = self._start(track, active_stem, needed, rng)
        crops = np.stack([track.crop(stem, start, needed) for stem in self.stems])
        return change_speed(self._channels(crops, rng), speed, self.rate_hz, self.length), track.sums

    def _remix(self, rng: np.random.Generator, alone: bool) -> tuple[np.ndarray, Mapping[str, tuple[str, ...]]]:
        """Crops of different songs (stem, channel, time), and no sums."""
        mixing = self.config.mixing
        match = rng.random() < mixing.loudness_match
        reference = self._songs.draw(rng)
        result = np.zeros((len(self.stems), self.channels, self.length), np.float32)
        for i, stem in enumerate(self.stems):
            songs, solos = self._stem_songs[stem], self._stem_solos[stem]
            use_solo = solos is not None and (songs is None or rng.random() < (ALONE_SOLO if alone else mixing.solo))
            pool = solos if use_solo else songs
            if pool is None:
                continue
            target_db = self._target_db(reference, stem) if match or use_solo else None
            wave = self._crop(pool.draw(rng), stem, rng, target_db)
            if songs is not None and rng.random() < mixing.double:
                second = self._crop(songs.draw(rng), stem, rng, None)
                wave = wave + second * np.float32(rng.uniform(0.3, 1.0))
            result[i] = wave
        return result, {}

    def _crop(self, track: PreparedTrack, stem: str, rng: np.random.Generator, target_db: float | None) -> np.ndarray:
        """A crop of one stem (channel, time) at a random speed, and near the level `target_db` if it is given."""
        speed = draw_speed(self.config.augment, rng)
        solo = self._solo_sources.get(track.source)
        if solo and solo.deeper_semitones:
            speed *= 2 ** (-rng.uniform(0, solo.deeper_semitones) / 12)
        needed = int(np.ceil(self.length * speed)) + 1
        wave = track.crop(stem, self._start(track, stem, needed, rng), needed)
        wave = change_speed(self._channels(wave, rng), speed, self.rate_hz, self.length)
        if solo and solo.closer_db:
            gain_db, corner_hz = rng.uniform(0, solo.closer_db), rng.uniform(*PROXIMITY_HZ)
            wave = proximity_effect(wave, gain_db, corner_hz, self.rate_hz)
        if target_db is not None:
            jitter_db = self.config.mixing.loudness_jitter_db
            change_db = np.clip(target_db - track.level_db[stem], -MATCH_LIMIT_DB, MATCH_LIMIT_DB)
            wave = wave * np.float32(10 ** ((change_db + rng.uniform(-jitter_db, jitter_db)) / 20))
        return wave

    def _start(self, track: PreparedTrack, stem: str, needed: int, rng: np.random.Generator) -> int:
        """First sample of a random crop: anywhere (probability ``mixing.anywhere``), or where the stem is active."""
        spare = track.frames - needed
        anywhere, position, jitter = rng.random() < self.config.mixing.anywhere, rng.random(), rng.random()
        starts = () if anywhere or spare <= 0 else self._active_starts(track, stem, needed)
        if len(starts) == 0:
            return round(position * spare)
        block = self.rate_hz // 2
        chosen = (starts[int(position * len(starts))] + jitter - 0.5) * block
        return int(np.clip(chosen, 0, spare))

    def _active_starts(self, track: PreparedTrack, stem: str, needed: int) -> np.ndarray:
        blocks = round(2 * needed / self.rate_hz)
        key = (track.source, track.name, stem, blocks)
        if key not in self._starts:
            self._starts[key] = track.active_starts(stem, blocks * self.rate_hz // 2).astype(np.int32)
        return self._starts[key]

    def _channels(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(..., channel, time) in mono (a random channel) or stereo (at random, left and right swapped)."""
        choice = rng.random()
        if self.channels == 1:
            return wave if wave.shape[-2] == 1 else wave[..., [int(choice < 0.5)], :]
        if wave.shape[-2] == 1:
            return np.repeat(wave, 2, axis=-2)
        return wave[..., ::-1, :] if choice < self.config.augment.swap_share else wave

    def _target_db(self, reference: PreparedTrack, stem: str) -> float:
        """Level of the stem in the reference track, or its typical level if that is unknown."""
        usable = reference.has_signal(stem) and stem in reference.single
        return reference.level_db[stem] if usable else self._typical_db[stem]

    def _drop_stems(self, stems: np.ndarray, alone: bool, rng: np.random.Generator) -> np.ndarray:
        """Silences random stems, but never all active ones; with `alone` it keeps one or two."""
        drops = rng.random(len(stems)) < self.config.mixing.drop
        if alone:
            active = rng.permutation(np.flatnonzero(stems.any(axis=(1, 2))))
            drops[:] = True
            drops[active[: rng.integers(1, 3)]] = False
        if drops.any() and stems[~drops].any():
            stems[drops] = 0
        return stems

    def _apply_gains(self, stems: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Multiplies each stem by its own random gain, in place."""
        least, greatest = self.config.mixing.gain
        stems *= rng.uniform(least, greatest, len(stems)).astype(np.float32)[:, None, None]
        return stems

    def _augment(self, stems: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Augments each stem independently, in place."""
        for i, wave in enumerate(stems):
            wave = random_effects(wave, self.config.augment, self.rate_hz, rng)
            stems[i] = random_pan(wave, self.config.augment, rng) if self.channels == 2 else wave
        return stems


def _pool(sources: Sequence[Source], draw: str, stem: str | None = None) -> _Pool | None:
    """The tracks of some sources to draw from; the weight of a source is distributed among its tracks.

    Args:
        draw: how a track's probability depends on its length; see `MixingConfig.draw`.
        stem: only tracks in which this stem is active, and not only within a sum; None for whole songs.
    """
    power = {"uniform": 0.0, "sqrt": 0.5, "length": 1.0}[draw]
    tracks, shares = [], []
    for source in sources:
        usable = [(track, _seconds(track, stem)) for track in source.tracks if stem is None or stem in track.single]
        usable = [(track, seconds) for track, seconds in usable if seconds > 0]
        sizes = np.array([seconds**power for _, seconds in usable])
        tracks += [track for track, _ in usable]
        shares += list(source.config.weight * sizes / sizes.sum()) if usable else []
    if not tracks:
        return None
    cumulative = np.cumsum(shares)
    return _Pool(tuple(tracks), cumulative / cumulative[-1])


def _seconds(track: PreparedTrack, stem: str | None) -> float:
    return track.frames / track.rate_hz if stem is None else track.active_s(stem)


def _median_level(library: Library, stem: str) -> float:
    levels = [
        track.level_db[stem]
        for _, tracks in library.songs
        for track in tracks
        if stem in track.single and track.has_signal(stem)
    ]
    return float(np.median(levels)) if levels else -20.0
