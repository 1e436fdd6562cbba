"""Separates songs: a file or an array in, the waves of its stems out, in constant memory."""

import math
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hyperstem import audio
from hyperstem.config import NetworkConfig
from hyperstem.dsp.overlap import Cut
from hyperstem.errors import ConfigError, HyperstemError, ModelError
from hyperstem.files import user_path
from hyperstem.models import engines, store
from hyperstem.separation.flow import DcOffset, assemble, split
from hyperstem.separation.inputs import Sound, as_file, as_rate, as_wave
from hyperstem.separation.pipeline import ordered_map, prefetch
from hyperstem.separation.quality import QUALITIES, Quality, stages_of
from hyperstem.separation.segment import SegmentSeparator
from hyperstem.separation.stems import Block, Stems

__all__ = ["Block", "Cancelled", "Progress", "Quality", "Separator", "Stems", "separate"]

OVERLAP = 0.05
"""Fraction of a segment that is crossfaded with the next; docs/separation.md has the measurement."""
LARGEST_OVERLAP = 0.9
T = TypeVar("T")

Progress = Callable[[float, float | None], None]
"""Called with the seconds done and, where it is known, the total."""


class Cancelled(HyperstemError):
    """The caller's `cancel` event was set."""


class Separator:
    """A loaded model that separates songs; load once, use many times, from any thread.

    Attributes:
        stems: names of the stems, in the model's order.
        rate_hz: rate of the highest stage run; what lies above its band is distributed by the stems' energy.
        model_name: name or path of the model.
        model_sha256: of the model file.
        trained: False for an untrained placeholder.
    """

    def __init__(
        self,
        loaded: engines.Loaded,
        quality: Quality = "full",
        segment_s: float | None = None,
        overlap: float = OVERLAP,
    ) -> None:
        if quality not in QUALITIES:
            raise ConfigError(f"quality is {quality!r}; allowed are {', '.join(QUALITIES)}")
        stages = stages_of(quality, loaded.engine.config.stages)
        config = loaded.engine.config.first_stages(stages)
        if not 0 <= overlap <= LARGEST_OVERLAP:
            raise ConfigError(f"overlap is {overlap}; allowed are 0 to {LARGEST_OVERLAP}")
        segment_s = config.segment_s if segment_s is None else segment_s
        if not (math.isfinite(segment_s) and segment_s >= 0.1):
            raise ConfigError(f"segment is {segment_s} s; at least 0.1 is needed")
        decoded = getattr(loaded.engine, "stems", config.stems)
        if tuple(decoded) != config.stems:
            raise ModelError(
                f"model {loaded.name} decodes only {', '.join(decoded)}; separation needs "
                f"{', '.join(config.stems)}, for together they make up the song"
            )
        self.quality, self.stages, self.overlap = quality, stages, overlap
        self.stems = config.stems
        self.rate_hz = config.rates_hz[-1]
        self.model_name, self.model_sha256, self.trained = loaded.name, loaded.sha256, loaded.trained
        self._loaded = loaded
        self._origin: tuple[Any, ...] | None = None  # what `load` was called with
        self._separate_segment = SegmentSeparator(loaded, config)
        self._cut = _cut(config, segment_s, overlap)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = "default",
        quality: Quality = "full",
        device: str = "auto",
        threads: int | None = None,
        segment_s: float | None = None,
        overlap: float = OVERLAP,
    ) -> "Separator":
        """Loads a model.

        Args:
            name_or_path: a named model, its folder, or a model file.
            quality: "preview", "standard" or "full": runs one, two or all stages.
            device: "cpu" or "cuda"; "auto" runs the exported network on the CPU if the model has one.
            threads: CPU threads; None uses one per core, 8 at most.
            segment_s: length of the segments; None uses the model's own, which it was trained for.
            overlap: fraction of a segment, 0 to 0.9, that is crossfaded with the next.

        Raises:
            ModelError: no such model, or a damaged one.
            ConfigError: a setting is out of range.
        """
        separator = cls(engines.load(name_or_path, device, threads), quality, segment_s, overlap)
        named = str(name_or_path) in store.names()
        model = name_or_path if named else user_path(name_or_path).absolute()
        separator._origin = (model, quality, device, threads, segment_s, overlap)
        return separator

    def __reduce__(self) -> tuple[Callable[..., "Separator"], tuple[Any, ...]]:
        """Pickles as the model's path and the settings: the other process loads the model itself."""
        if self._origin is not None:
            return Separator.load, self._origin
        return Separator, (self._loaded, self.quality, self.segment_s, self.overlap)

    @property
    def segment_s(self) -> float:
        """Length of the segments in seconds."""
        return self._cut.length / self.rate_hz

    def separate(
        self, wave: np.ndarray, rate_hz: int, progress: Progress | None = None, cancel: threading.Event | None = None
    ) -> Stems:
        """Separates an array.

        Args:
            wave: (channel, time), or (time,) for one channel: floats with full scale 1, at any level, or integers of 8,
                16 or 32 bits, whose range is full scale.
            rate_hz: its sample rate.
            progress: called with the seconds done and the total.
            cancel: set it from another thread to stop.

        Raises:
            AudioError: no samples, too many channels, samples that are not finite numbers, or a fractional rate.
            Cancelled: `cancel` was set.
        """
        wave, rate_hz = as_wave(wave), as_rate(rate_hz)
        waves = np.empty((len(self.stems), *wave.shape), np.float32)
        for block in self.stream_blocks(_array_blocks(wave), rate_hz, wave.shape[1] / rate_hz, progress, cancel):
            waves[..., block.start : block.start + block.waves.shape[-1]] = block.waves
        return Stems(self.stems, waves, wave, rate_hz)

    def separate_file(
        self,
        path: Sound,
        start_s: float = 0.0,
        duration_s: float | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        *,
        stream: audio.Choice = None,
        strict: bool = False,
        warn: audio.Warn | None = None,
    ) -> Stems:
        """Separates a file, or a part of it, into memory; arguments are those of `stream`.

        Raises:
            AudioError: nothing can be decoded, or samples are not finite.
            Cancelled: `cancel` was set.
        """
        with as_file(path) as file:
            info = audio.probe(file, stream)
            tags = audio.read_tags(file).of_part(start_s, info.rate_hz, info.rate_hz)
            parts = self.stream(file, start_s, duration_s, progress, cancel, stream=stream, strict=strict, warn=warn)
            blocks = list(parts)
        mixture = np.concatenate([block.mixture for block in blocks], axis=-1)
        waves = np.concatenate([block.waves for block in blocks], axis=-1)
        return Stems(self.stems, waves, mixture, info.rate_hz, tags, info.speakers)

    def stream(
        self,
        path: Sound,
        start_s: float = 0.0,
        duration_s: float | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
        *,
        stream: audio.Choice = None,
        strict: bool = False,
        warn: audio.Warn | None = None,
    ) -> Generator[Block, None, None]:
        """Separates a file, or a part of it, in constant memory.

        Args:
            path: any file that soundfile or PyAV reads: its path, its contents as bytes, or the open file.
            start_s: where to begin, in seconds.
            duration_s: how much to separate at most; None separates to the end.
            progress: called with the seconds done and the total.
            cancel: set it from another thread to stop.
            stream: which sound stream: a number from 0, a language or title; None for the default one.
            strict: refuse files that have lost sound; otherwise silence replaces it, and `warn` is called.
            warn: called with each problem found in the file; None issues an `audio.AudioWarning` for each.

        Yields:
            Blocks, in order, as they are ready.

        Raises:
            AudioError: nothing can be decoded, or samples are not finite.
            Cancelled: `cancel` was set.
        """
        with as_file(path) as file:
            info = audio.probe(file, stream)
            total_s = info.duration_s and max(0.0, info.duration_s - start_s)
            if duration_s is not None:
                total_s = min(duration_s, total_s or duration_s)
            waves = audio.stream(file, start_s=start_s, duration_s=duration_s, stream=stream, strict=strict, warn=warn)
            yield from self.stream_blocks(waves, info.rate_hz, total_s, progress, cancel)

    def stream_blocks(
        self,
        waves: Iterator[np.ndarray],
        rate_hz: int,
        total_s: float | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> Generator[Block, None, None]:
        """Separates blocks of any length, (channel, time) float32 each, in constant memory; decoding, the network and
        everything after it run at the same time.

        Yields:
            Blocks, in order, as they are ready.
        """
        offset = DcOffset()
        centred = offset.removed(_until_cancelled(cancel, waves), self._cut.length * rate_hz // self.rate_hz)
        pieces = prefetch(split(centred, rate_hz, self.rate_hz, self._cut), depth=2)
        separated = _until_cancelled(cancel, ordered_map(self._separate_segment, pieces, self._loaded.workers))
        for block in prefetch(assemble(separated, self.stems, rate_hz, self.rate_hz, self._cut), depth=2):
            block = offset.restored(block)
            yield block
            if progress is not None:
                progress((block.start + block.mixture.shape[1]) / rate_hz, total_s)


def separate(
    path: Sound,
    model: str | Path = "default",
    quality: Quality = "full",
    *,
    stream: audio.Choice = None,
    strict: bool = False,
) -> Stems:
    """Separates a file into memory.

    Args:
        path: any file that soundfile or PyAV reads: its path, its contents as bytes, or the open file.
        model: a named model, its folder, or a model file.
        quality: "preview", "standard" or "full": runs one, two or all stages.
        stream: which sound stream: a number from 0, a language or title; None for the default one.
        strict: refuse damaged files instead of separating what can be decoded.

    Returns:
        Stem name to float32 (channel, time) at the file's rate, with `Stems.save`.

    Raises:
        AudioError: nothing can be decoded, or samples are not finite.
        ModelError: no such model, or a damaged one.
    """
    with as_file(path) as file:
        audio.probe(file, stream)
        return Separator.load(model, quality).separate_file(file, stream=stream, strict=strict)


def _cut(config: NetworkConfig, segment_s: float, overlap: float) -> Cut:
    """Segments that are whole frames at every stage."""
    frame = config.frame_samples
    length = max(1, round(segment_s * config.rates_hz[-1] / frame)) * frame
    step = frame // config.hop
    return Cut(length, max(step, round(length * (1 - overlap) / step) * step))


def _array_blocks(wave: np.ndarray) -> Iterator[np.ndarray]:
    for at in range(0, wave.shape[1], audio.reading.BLOCK_FRAMES):
        yield wave[:, at : at + audio.reading.BLOCK_FRAMES]


def _until_cancelled(cancel: threading.Event | None, items: Iterator[T]) -> Generator[T, None, None]:
    """The items, until `cancel` is set; closes their generator at the end."""
    try:
        for item in items:
            if cancel is not None and cancel.is_set():
                raise Cancelled("cancelled")
            yield item
    finally:
        if isinstance(items, Generator):
            items.close()
