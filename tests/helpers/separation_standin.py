"""What the tests of separation share: a stand-in for the network, signals, and files in every container."""

import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from hyperstem.config import ModelConfig
from hyperstem.models.engines import Loaded
from hyperstem.separation.separator import Separator

GAINS = (0.4, 0.3, 0.2, 0.05)


class StandIn:
    """Each stem is a share of the mixture; thread-safe like the real network."""

    def __init__(self, channels: int = 1, segment_s: float = 1.0, delay_s: float = 0.0) -> None:
        self.config = ModelConfig(audio_channels=channels, segment_s=segment_s)
        self.delay_s = delay_s
        self.levels: list[float] = []
        self.lengths: list[int] = []

    def separate(self, pyramid: list[np.ndarray]) -> np.ndarray:
        time.sleep(self.delay_s)
        wave = pyramid[-1]  # (batch, channel, time)
        assert all(item.dtype == np.float32 and item.shape[:2] == wave.shape[:2] for item in pyramid)
        assert [item.shape[-1] for item in pyramid] == [wave.shape[-1] >> i for i in reversed(range(len(pyramid)))]
        self.levels.append(float(wave.std()))
        self.lengths.append(wave.shape[-1])
        return wave[:, None] * np.array(GAINS, np.float32)[None, :, None, None]


def loaded(engine: StandIn, workers: int = 2) -> Loaded:
    return Loaded(engine, workers, "stand-in", "0" * 64, True)


def separator(
    channels: int = 1, workers: int = 2, segment_s: float = 1.0, delay_s: float = 0.0, **settings
) -> Separator:
    return Separator(loaded(StandIn(channels, segment_s, delay_s), workers), **settings)


def noise(channels: int, length: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((channels, length)) * level).astype(np.float32)


def clicks(channels: int, length: int, at: tuple[int, ...], level: float = 0.5) -> np.ndarray:
    """Short bursts that even a lossy codec keeps in their place."""
    wave = noise(channels, length, 1e-3)
    burst = level * np.hanning(64) * np.cos(np.arange(64) * 0.9)
    for start in at:
        wave[:, start : start + 64] += burst[: max(0, length - start)].astype(np.float32)
    return wave


def encode(path: Path, codec: str, wave: np.ndarray, rate_hz: int, container: str | None = None) -> Path:
    """A file as other programs make them, with PyAV."""
    layout = "mono" if len(wave) == 1 else "stereo"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        stream.codec_context.layout = layout
        if stream.codec_context.codec.audio_formats:
            stream.codec_context.format = stream.codec_context.codec.audio_formats[0].name
        if codec != "flac" and not codec.startswith("pcm"):
            stream.codec_context.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def lag(wave: np.ndarray, reference: np.ndarray) -> int:
    """By how many samples `wave` comes later than `reference`."""
    size = 1 << (len(wave) + len(reference)).bit_length()
    spectrum = np.fft.rfft(wave, size) * np.fft.rfft(reference, size).conj()
    peak = int(np.fft.irfft(spectrum).argmax())
    return peak if peak < size // 2 else peak - size


HERE = Path(__file__).parent
COMMAND = """
import sys
sys.path.insert(0, sys.argv[1])
import separation_standin
from hyperstem.models import engines
engine = separation_standin.StandIn(segment_s=0.5, delay_s=float(sys.argv[2]))
engines.load = lambda *_: separation_standin.loaded(engine)
from hyperstem.cli import main
sys.exit(main(sys.argv[3:]))
"""
"""The command line on the stand-in: ``python -c COMMAND HERE delay arguments...``."""
