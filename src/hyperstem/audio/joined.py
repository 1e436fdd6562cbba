"""Reads concatenated files as one: chained Ogg, and files that people joined byte by byte."""

from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np

from hyperstem.audio.convert import Converter
from hyperstem.audio.damage import Findings
from hyperstem.audio.source import AudioInfo, Source, seconds
from hyperstem.errors import AudioError

Opener = Callable[[], Source]


class JoinedSource:
    """The sounds of several files, one after the other, at the rate and with the channels of the first.

    Args:
        openers: open the files, in order; files that cannot be opened are skipped and noted.
        findings: collects their problems.
    """

    def __init__(self, openers: Sequence[Opener], findings: Findings) -> None:
        self.findings = findings
        self._openers = openers
        infos = [info for opener in openers if (info := self._info(opener)) is not None]
        if not infos:
            raise AudioError(f"{findings.path} is no audio file that can be decoded: none of its parts is whole")
        first = infos[0]
        if any((info.rate_hz, info.channels) != (first.rate_hz, first.channels) for info in infos):
            findings.note(f"is made of {len(infos)} parts of unlike rate or channels; all have those of the first")
        lengths = [None if info.frames is None else info.frames * first.rate_hz / info.rate_hz for info in infos]
        frames = None if None in lengths else round(sum(length for length in lengths if length is not None))
        durations = [info.duration_s for info in infos]
        duration_s = seconds(frames, first.rate_hz)
        if duration_s is None and None not in durations:
            duration_s = sum(duration for duration in durations if duration is not None)
        same = all((info.rate_hz, info.channels) == (first.rate_hz, first.channels) for info in infos)
        self.info: AudioInfo = first._replace(frames=frames if same else None, duration_s=duration_s)
        self._skip = 0

    def _info(self, opener: Opener) -> AudioInfo | None:
        try:
            with opener() as source:
                return source.info
        except AudioError:
            self.findings.fault("has a part that cannot be decoded")
            return None

    def seek(self, frame: int) -> None:
        """Makes `frame` the next one read: everything before is decoded and dropped."""
        self._skip = frame

    def blocks(self, frames: int) -> Iterator[np.ndarray]:
        """(channel, time) float32 blocks to the end."""
        skip = self._skip
        for wave in self._waves(frames):
            dropped = min(skip, wave.shape[1])
            skip -= dropped
            if dropped < wave.shape[1]:
                yield wave[:, dropped:]

    def _waves(self, frames: int) -> Iterator[np.ndarray]:
        converter = Converter(self.info.rate_hz, self.info.channels)
        position = 0
        for opener in self._openers:
            self.findings.offset_s = position / self.info.rate_hz
            try:
                source = opener()
            except AudioError:
                continue
            with source:
                for block in source.blocks(frames):
                    for wave in converter.push(block, source.info.rate_hz, source.info.speakers):
                        position += wave.shape[1]
                        yield wave
        for wave in converter.finish():
            yield wave

    def close(self) -> None:
        """Does nothing: no file stays open between reads."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
