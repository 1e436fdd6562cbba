"""Finds missing sound between decoded frames, from the timestamps in the container."""

from collections import deque
from typing import NamedTuple

import av

_EXACT = {"ogg", "flac", "wv", "mov"}
"""Containers whose timestamps count samples: a gap of most of a frame is a loss."""
_ROUNDED = {"matroska", "mpegts", "mpeg", "flv"}
"""Those whose timestamps are rounded and sometimes corrected: shorter gaps than `_ROUNDED_GAP_S` are ignored."""
_ROUNDED_GAP_S = 0.1
_LONGEST_GAP_S = 3600
"""A longer jump of the timestamps is not a gap."""
_UNSENT_S = 0.5
"""Opus sends nothing during silence; a gap of up to this in Matroska is not a loss."""
_VORBIS_BLOCK = 1024
"""Usual samples per long window of Vorbis."""
RAW = {"mp3", "aac", "ac3", "eac3", "dts", "mpegts", "mpeg", "loas", "amr"}
"""Formats without an index: packets are found by their sync word, and the rest is not sound."""
_SYNCHRONISED = {"mp1float", "mp2", "mp2float", "mp3", "mp3float", "aac"}
"""Codecs whose packets, in these formats, begin with the byte 0xFF."""


class Gap(NamedTuple):
    """A gap before a frame."""

    samples: int
    lost: bool
    """False if there never was any sound."""


class Timeline:
    """Follows packets and frames of one stream.

    Args:
        container: FFmpeg's name of it.
        codec: FFmpeg's name of it.
        tick: samples per unit of the timestamps.
        start: the stream's first timestamp, if the container has one.
        rate_hz: of the sound.
    """

    def __init__(self, container: str, codec: str, tick: float, start: int | None, rate_hz: int) -> None:
        self._container, self._codec, self._tick, self._rate_hz = container, codec, tick, rate_hz
        self._expected: float | None = None
        self._start = start
        self._sizes: deque[int] = deque(maxlen=32)
        self._begin = b""
        self._samples = 0
        self._longest = _VORBIS_BLOCK
        self._failed: list[int] = []
        """Sizes of the packets since the last decoded frame that could not be decoded."""
        self.decoded = False

    def failed(self, packet: av.Packet) -> None:
        """Notes that a packet could not be decoded."""
        raw = self._container in RAW
        begin_bytes = bytes(packet)[:2]
        if not packet.size or (raw and not self.decoded and self._codec in _SYNCHRONISED and begin_bytes[0] != 0xFF):
            return
        if self._expected is None and packet.pts is not None:
            begin = packet.pts if self._start is None else max(packet.pts, self._start)
            self._expected = begin * self._tick
        if raw and self.decoded and begin_bytes != self._begin:
            if self._expected is not None:  # it is not sound, but advances the timestamps
                self._expected += self._samples
            return
        self._failed.append(packet.size)

    def succeeded(self, packet: av.Packet) -> None:
        """Notes that a packet was decoded."""
        self._sizes.append(packet.size)
        self._begin = bytes(packet)[:2]

    def gap(self, frame: av.AudioFrame) -> Gap:
        """The gap before the frame that was decoded next."""
        failed, self._failed, self.decoded = self._failed, [], True
        samples, self._samples = frame.samples, frame.samples
        if frame.pts is None:
            if self._expected is not None:
                self._expected += samples
            return Gap(samples * len(failed), True)
        begin = frame.pts * self._tick
        missing = 0.0 if self._expected is None else begin - self._expected
        if not failed and self._expected is not None and self._is_unsteady(missing, samples):
            self._expected += samples
            return Gap(0, False)
        self._expected = begin + samples
        if failed:
            return Gap(self._in_failed(failed, missing, samples), True)
        if self._is_gap(missing, samples):
            unsent = self._codec == "opus" and self._container == "matroska" and missing < _UNSENT_S * self._rate_hz
            return Gap(round(missing), not unsent)
        return Gap(0, False)

    def _in_failed(self, failed: list[int], missing: float, samples: int) -> int:
        """Samples of packets that could not be decoded; without an index, one may hold the remains of several."""
        least = max(0, round(missing)) if missing < _LONGEST_GAP_S * self._rate_hz else 0
        if missing <= 2 * self._tick:
            least = samples * len(failed) if self._container not in _EXACT else 0
        if self._container not in RAW or not self._sizes:
            return least
        usual = sum(self._sizes) / len(self._sizes)
        return least + samples * sum(max(0, round(size / usual) - 1) for size in failed)

    def _is_unsteady(self, missing: float, samples: int) -> bool:
        """Whether a timestamp may be off by the overlap of a long and a short window, which FFmpeg miscounts in Vorbis.
        Later timestamps are right again; until then samples are counted."""
        self._longest = max(self._longest, samples)
        return self._codec == "vorbis" and abs(missing) < 0.75 * self._longest

    def _is_gap(self, missing: float, samples: int) -> bool:
        if missing >= _LONGEST_GAP_S * self._rate_hz:
            return False
        if self._container in _EXACT:
            return missing >= max(0.75 * samples, 3 * self._tick)
        return self._container in _ROUNDED and missing >= max(2 * samples, _ROUNDED_GAP_S * self._rate_hz)

    def left(self) -> int:
        """Samples of packets at the end that could not be decoded."""
        return self._samples * len(self._failed)
