"""Renders folders of songs in several processes: ``<song>/drums.flac`` and so on, with a manifest of each song."""

import functools
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from hyperstem import audio
from hyperstem.config import STEMS
from hyperstem.config.limits import Count, Limits
from hyperstem.config.reading import Checked
from hyperstem.errors import ConfigError, DataError
from hyperstem.files import remove_leftovers, temporary_beside
from hyperstem.parallel import in_processes
from hyperstem.synth.band import render_song
from hyperstem.synth.compose.score import compose, stream

MANIFEST = "song.json"


@dataclass(frozen=True)
class SynthConfig(Checked):
    """Which songs to render: `songs` songs of `seconds` each, which depend only on these settings."""

    songs: Count = 8
    seconds: Annotated[float, Limits(1, 3600)] = 75.0
    seed: Annotated[int, Limits(0, (1 << 32) - 1)] = 0
    rate_hz: Annotated[int, Limits(8000, 96000)] = 44100
    format: str = "flac"


class Rendered(NamedTuple):
    """One song on disk."""

    folder: Path
    seconds: float
    """Length of the song."""
    cpu_s: float
    """Processor time of rendering it."""
    kept: bool
    """Whether it existed already."""


def song_name(config: SynthConfig, number: int) -> str:
    """Name of the folder of song `number`, from 0."""
    return f"synth-{config.seed:04d}-{number:04d}"


def absent_stems(seed: int) -> tuple[str, ...]:
    """The silent stems of a song, mostly none."""
    rng = stream(seed, 80)
    chances = {"vocals": 0.08, "bass": 0.05, "drums": 0.05, "other": 0.03}
    missing = tuple(stem for stem in STEMS if rng.random() < chances[stem])
    return missing if len(missing) < 3 else missing[:2]


def song_seed(config: SynthConfig, number: int) -> int:
    """The seed of song `number`, which does not depend on the number of songs."""
    return int(np.random.SeedSequence([config.seed, number]).generate_state(1, np.uint64)[0] >> 1)


def render_one(folder: Path, config: SynthConfig, number: int) -> Rendered:
    """Renders one song to `folder`, unless it exists with the same settings; its folder appears when it is complete.

    Raises:
        DataError: the song exists with other settings.
    """
    target = folder / song_name(config, number)
    fingerprint = _fingerprint(config, number)
    if target.exists():
        if _made_by(target) == fingerprint:
            return Rendered(target, config.seconds, 0.0, True)
        raise DataError(f"{target} exists with other settings; choose another folder or remove it")
    start_s = _cpu_s()
    seed = song_seed(config, number)
    song, absent = compose(seed, config.seconds), absent_stems(seed)
    stems = render_song(seed, config.seconds, config.rate_hz, absent=absent)
    temporary = temporary_beside(target)
    temporary.mkdir()
    try:
        for stem, wave in stems.items():
            audio.write(temporary / f"{stem}.{config.format}", wave, config.rate_hz)
        manifest = {
            "seed": seed,
            "seconds": config.seconds,
            "rate_hz": config.rate_hz,
            "style": song.style.name,
            "bpm": round(song.bpm, 3),
            "key": song.key,
            "mode": song.mode,
            "sections": [section.kind for section in song.sections],
            "absent": list(absent),
            "made_by": fingerprint,
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Rendered(target, config.seconds, _cpu_s() - start_s, False)


def render_songs(
    folder: Path,
    config: SynthConfig,
    jobs: int = 1,
    progress: Callable[[int, int, Rendered], None] | None = None,
) -> list[Rendered]:
    """Renders all songs of `config` to `folder`; complete songs of an interrupted call are kept.

    Args:
        folder: created if needed.
        config: the songs.
        jobs: number of processes, which does not change the songs.
        progress: called after each song with the number of songs done and in all, and the song.

    Raises:
        ConfigError: `jobs` is below 1, or the format does not support the rate.
        DataError: a song exists with other settings.
    """
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; it must be at least 1")
    audio.named_format(config.format).check(config.rate_hz, 2, "pcm16")
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    done = []
    render = functools.partial(render_one, folder, config)
    try:
        for rendered in in_processes(render, range(config.songs), jobs):
            done.append(rendered)
            if progress:
                progress(len(done), config.songs, rendered)
    finally:
        remove_leftovers(folder)  # of processes that were terminated
    return sorted(done)


def _cpu_s() -> float:
    """Processor time of this process and its children."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _fingerprint(config: SynthConfig, number: int) -> str:
    """A hash of all settings that the song depends on."""
    settings = {key: value for key, value in asdict(config).items() if key != "songs"}
    return hashlib.sha256(json.dumps([settings, number], sort_keys=True).encode()).hexdigest()[:16]


def _made_by(target: Path) -> str | None:
    """The fingerprint in the manifest of a song's folder."""
    try:
        return json.loads((target / MANIFEST).read_text(encoding="utf-8")).get("made_by")
    except (OSError, ValueError, AttributeError):
        return None


def songs_for(minutes: float, seconds: float) -> int:
    """Number of songs of `seconds` that last `minutes` together."""
    for name, value in {"minutes": minutes, "seconds": seconds}.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"{name} is {value!r}; it must be above 0")
    return max(1, math.ceil(minutes * 60 / seconds - 1e-9))
