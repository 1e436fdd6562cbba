"""Songs made on the spot, for the tests of the training data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from hyperstem.config import STEMS, AugmentConfig, DataConfig, MixingConfig, ModelConfig, SourceConfig
from hyperstem.data.prepare import prepare

RATE_HZ = 8000
MODEL = ModelConfig(stages=1, segment_s=1.0, audio_channels=2)
PLAIN = MixingConfig(remix=0.0, gain=(1.0, 1.0))
QUIET = AugmentConfig(swap_share=0.0)
EVERYTHING = AugmentConfig(
    speed_share=0.5,
    gain_db=3,
    polarity_share=0.5,
    eq_share=0.5,
    reverb_share=0.3,
    clip_share=0.3,
    pan_share=0.5,
    mono_share=0.2,
)


def noise(seed: int, seconds: float = 4.0, channels: int = 2, level: float = 0.1, rate_hz: int = RATE_HZ) -> np.ndarray:
    """(channel, time) float32."""
    rng = np.random.default_rng(seed)
    return (level * rng.standard_normal((channels, round(seconds * rate_hz)))).clip(-1, 1).astype(np.float32)


def tone(hz: float, seconds: float = 4.0, channels: int = 2, level: float = 0.1, rate_hz: int = RATE_HZ) -> np.ndarray:
    """(channel, time) float32."""
    wave = level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)
    return np.repeat(wave[None], channels, axis=0).astype(np.float32)


def write(path: Path, wave: np.ndarray, rate_hz: int = RATE_HZ) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave.T, rate_hz, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def write_song(folder: Path, waves: dict[str, np.ndarray], rate_hz: int = RATE_HZ) -> None:
    for stem, wave in waves.items():
        write(folder / f"{stem}.wav", wave, rate_hz)


def songs(root: Path, count: int = 3, name: str = "songs", **options) -> SourceConfig:
    """A folder of songs whose stems are noise; a source of them."""
    for song in range(count):
        write_song(root / name / f"song{song}", {stem: noise(10 * song + i) for i, stem in enumerate(STEMS)})
    return SourceConfig(name, "folders", name, **options)


def config(root: Path, *sources: SourceConfig, **options) -> DataConfig:
    options = {"mixing": PLAIN, "augment": QUIET, "workers": 0} | options
    return DataConfig(sources, root=str(root), prepared=str(root / "prepared"), **options)


def prepared(root: Path, *sources: SourceConfig, rate_hz: int = RATE_HZ, **options) -> DataConfig:
    data = config(root, *sources, **options)
    report = prepare(data, STEMS, rate_hz)
    assert not report.problems, report.problems
    return data


def with_mixing(data: DataConfig, **changes) -> DataConfig:
    return replace(data, mixing=replace(data.mixing, **changes))


def with_augment(data: DataConfig, **changes) -> DataConfig:
    return replace(data, augment=replace(data.augment, **changes))
