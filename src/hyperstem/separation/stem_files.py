"""Writes the stems of one song: all files or none, with one gain for all."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np

from hyperstem.audio import MultitrackWriter, Tags, Writer
from hyperstem.audio.convert import stereo_weights
from hyperstem.audio.samples import read_steps
from hyperstem.dsp.resample import Resampler
from hyperstem.errors import AudioError
from hyperstem.separation.fixed_point import as_integers, keep_sum, whole_steps
from hyperstem.separation.output import Output, OutputSettings

_REWRITE_FRAMES = 1 << 17


class StemFiles:
    """The open output files of one song.

    Fixed-point formats share one gain, which is known only at the end. Samples are written with the gain found so far;
    if it had to be lowered, everything is rescaled into new files at the end. Either way the stems sum to the mixture.

    Args:
        paths: group name to file; a multitrack format has one file, under any name. Folders must exist.
        settings: how to write.
        stems: names of the stems, in the order of the waves.
        rate_hz: of the waves.
        channels: of the waves.
        tags: title, artist, ..., or what `audio.read_tags` gives.
        speakers: names of the channels' loudspeakers, if known.

    Raises:
        AudioError: the format does not support the rate, channels or subtype.
        OSError: a file cannot be created.
    """

    def __init__(
        self,
        paths: Mapping[str, Path],
        settings: OutputSettings,
        stems: tuple[str, ...],
        rate_hz: int,
        channels: int,
        tags: Mapping[str, str] | Tags | None = None,
        speakers: tuple[str, ...] = (),
    ) -> None:
        groups = settings.file_groups(stems)
        self._settings, self._paths, self._names = settings, dict(paths), [name for name, _ in groups]
        self._members = [[stems.index(member) for member in members] for _, members in groups]
        self._in_channels = channels
        self._weights = _weights(settings.channels, channels, speakers)
        self._channels = channels if self._weights is None else len(self._weights)
        self.rate_hz = settings.output_rate_hz(rate_hz)
        self._tags = Tags.of(tags).of_part(0.0, rate_hz, self.rate_hz)
        settings.format.check(self.rate_hz, self._channels, settings.subtype)
        whole = sorted(i for members in self._members for i in members) == list(range(len(stems)))
        self._sums = whole and settings.bits > 0 and self.rate_hz == rate_hz
        rows = (len(groups) + settings.format.multitrack) * self._channels
        self._resampler = Resampler(rows, rate_hz, self.rate_hz)
        self._gain, self._peak, self._frames = 1.0, 0.0, 0
        self._sections: list[tuple[int, float]] = [(0, 1.0)]
        self._writers: list[Writer] = []
        self._multitrack: MultitrackWriter | None = None
        self._output: Output | None = None
        self._pool = ThreadPoolExecutor(min(4, len(groups)))
        try:
            if settings.format.multitrack:
                tracks = ("mixture", *(name for name, _ in groups))
                (path,) = self._paths.values()
                self._multitrack = MultitrackWriter(
                    path, self.rate_hz, self._channels, tracks, self._tags, settings.bitrate
                )
            else:
                self._writers = self._open([self._paths[name] for name in self._names])
        except BaseException:
            self.abort()
            raise

    def _open(self, paths: list[Path]) -> list[Writer]:
        writers: list[Writer] = []
        try:
            for name, path in zip(self._names, paths, strict=True):
                writers.append(
                    Writer(
                        path,
                        self.rate_hz,
                        self._channels,
                        subtype=self._settings.subtype,
                        tags=self._tags.of_stem(name),
                        format=self._settings.format,
                        bitrate=self._settings.bitrate,
                    )
                )
        except BaseException:
            for writer in writers:
                writer.abort()
            raise
        return writers

    def write(self, mixture: np.ndarray, waves: np.ndarray) -> None:
        """Appends samples.

        Args:
            mixture: (channel, time) float32.
            waves: (stem, channel, time) float32; they sum to the mixture.

        Raises:
            AudioError: a peak is above 1 and the settings forbid that.
            OSError: the disk is full, ...
        """
        self._write(mixture, waves, last=False)

    def _write(self, mixture: np.ndarray, waves: np.ndarray, last: bool) -> None:
        if self._weights is not None:
            mixture, waves = self._weights @ mixture, self._weights @ waves
        groups = self._grouped(mixture, waves)
        if self._resampler.from_hz != self._resampler.to_hz:
            rows = len(groups) * self._channels
            flat = self._resampler.push(groups.reshape(rows, groups.shape[-1]), last)
            groups = flat.reshape(len(groups), self._channels, flat.shape[-1])
        if groups.shape[-1] == 0:
            return
        files = groups[1:] if self._multitrack else groups
        peak = max(float(files.max()), -float(files.min()))
        self._peak = max(self._peak, peak)
        if peak > 1 and self._settings.clip == "error" and not self._settings.boundless:
            raise AudioError(
                f"peak {peak:.4f} is above 1 near {self._frames / self.rate_hz:.2f} s; "
                "--clip scale or clamp, or wav of --subtype float, writes it"
            )
        self._put(groups if self._settings.bits == 0 else self._steps(mixture, groups, peak))
        self._frames += groups.shape[-1]

    def _grouped(self, mixture: np.ndarray, waves: np.ndarray) -> np.ndarray:
        """(stem, channel, time) to (file, channel, time), for multitrack formats with the mixture first."""
        if self._members == [[i] for i in range(len(waves))] and not self._multitrack:
            return waves
        groups = [waves[members[0]] if len(members) == 1 else waves[members].sum(axis=0) for members in self._members]
        return np.stack([mixture, *groups] if self._multitrack else groups)

    def _put(self, groups: np.ndarray) -> None:
        if not self._settings.format.lossless and self._settings.clip == "clamp":
            groups = np.clip(groups, -1, 1)
        if self._multitrack:
            self._multitrack.write(list(groups))
        elif self._settings.format.name == "wav":  # nothing to encode: threads would cost more than they gain
            for writer, group in zip(self._writers, groups, strict=True):
                writer.write(group)
        else:
            _all(self._pool, Writer.write, self._writers, groups)

    def _steps(self, mixture: np.ndarray, groups: np.ndarray, peak: float) -> np.ndarray:
        """(file, channel, time) float32 as fixed-point steps at the current gain, lowered if they would clip."""
        full = 1 << (self._settings.bits - 1)
        steps = whole_steps(groups, self._gain, self._settings.bits, mixture if self._sums else None)
        if peak * self._gain * full > full - 1 - len(groups) and not (steps.max() < full and steps.min() >= -full):
            if self._settings.clip == "scale":
                self._gain = (full - 1 - len(groups)) / (full * peak)
                self._sections.append((self._frames, self._gain))
                steps = whole_steps(groups, self._gain, self._settings.bits, mixture if self._sums else None)
            np.clip(steps, -full, full - 1, out=steps)
        return as_integers(steps, self._settings.bits)

    def finish(self) -> Output:
        """Completes the files under their temporary names; no more can be written.

        Raises:
            OSError: the disk is full, ...
        """
        try:
            if self._resampler.from_hz != self._resampler.to_hz:
                empty = np.zeros((self._in_channels, 0), np.float32)
                self._write(empty, np.zeros((1 + max(map(max, self._members)), *empty.shape), np.float32), last=True)
            if self._multitrack:
                self._multitrack.finish()
            else:
                _all(self._pool, Writer.finish, self._writers)
                if self._gain < 1:
                    self._rescale()
        except BaseException:
            self.abort()
            raise
        self._pool.shutdown()
        self._output = Output(self._paths, self._gain, self._peak, self._frames, self.rate_hz)
        return self._output

    def close(self) -> Output:
        """Finishes the files if needed, and moves them to their final names.

        Raises:
            OSError: the disk is full, ...
        """
        output = self._output or self.finish()
        try:
            for writer in [self._multitrack] if self._multitrack else self._writers:
                writer.close()
        except BaseException:
            self.abort()
            raise
        return output

    def _rescale(self) -> None:
        """Rewrites everything at the final gain, into new files."""
        old = self._writers
        new = self._open([writer.path for writer in old])
        self._writers = [*old, *new]
        bits = self._settings.bits
        for parts in zip(*(self._sectioned(writer) for writer in old), strict=True):
            factor = self._gain / parts[0][1]
            before = np.stack([steps for steps, _ in parts])  # (file, channel, time)
            steps = np.rint(before * factor)
            if self._sums:
                keep_sum(steps, np.rint(before.sum(axis=0, dtype=np.int64) * factor))
            full = 1 << (bits - 1)
            np.clip(steps, -full, full - 1, out=steps)
            _all(self._pool, Writer.write, new, as_integers(steps, self._settings.bits))
        _all(self._pool, Writer.finish, new)
        self._writers = new
        for writer in old:
            writer.abort()

    def _sectioned(self, writer: Writer) -> Iterator[tuple[np.ndarray, float]]:
        """The steps written so far, (channel, time), each part with the gain it was written at."""
        ends = [start for start, _ in self._sections[1:]] + [self._frames]
        spans = [(start, end, gain) for (start, gain), end in zip(self._sections, ends, strict=True)]
        for start, end, gain in spans:
            for at in range(start, end, _REWRITE_FRAMES):
                count = min(_REWRITE_FRAMES, end - at)
                yield read_steps(writer.temporary, self._settings.bits, at, count), gain

    def abort(self) -> None:
        """Deletes everything written."""
        self._pool.shutdown(cancel_futures=True)
        for writer in self._writers:
            writer.abort()
        if self._multitrack:
            self._multitrack.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.abort()  # leaves files that were closed


def _weights(wanted: str, channels: int, speakers: tuple[str, ...]) -> np.ndarray | None:
    """The (output, input channel) mixing matrix; None leaves the channels as they are."""
    if wanted == "mono" and channels > 1:
        return np.full((1, channels), 1 / channels, np.float32)
    return stereo_weights(channels, speakers) if wanted == "stereo" and channels != 2 else None


def _all(pool: ThreadPoolExecutor, function, *columns) -> None:
    """Calls `function` for all rows in parallel, and waits for all even if one fails."""
    futures = [pool.submit(function, *row) for row in zip(*columns, strict=True)]
    for error in [future.exception() for future in futures]:
        if error is not None:
            raise error
