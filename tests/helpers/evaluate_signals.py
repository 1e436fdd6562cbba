"""Signals for the scores' tests: the same to the bit on every machine, for a committed file of museval's numbers."""

import hashlib
from pathlib import Path

import numpy as np

RATE_HZ = 8000
STEMS = ("drums", "vocals")
STORED = Path(__file__).with_name("museval.json")


def noise(name: str, channels: int, samples: int) -> np.ndarray:
    """White 8-bit noise from a hash of `name`, (channel, time) float32 in [-1, 1)."""
    data = hashlib.shake_256(name.encode()).digest(channels * samples)
    return (np.frombuffer(data, np.int8).reshape(channels, samples) / np.float32(128)).astype(np.float32)


def stems_and_estimates(seconds: float = 4.5) -> tuple[np.ndarray, np.ndarray]:
    """Two stereo stems, the second silent for the third second, and imperfect estimates of them.

    Returns:
        references and estimates, each (stem, channel, time).
    """
    samples = int(seconds * RATE_HZ)
    drums, vocals = noise("drums", 2, samples), noise("vocals", 2, samples)
    drums[1] += drums[0]
    vocals[:, 2 * RATE_HZ : 3 * RATE_HZ] = 0
    vocals *= np.float32(0.5)
    hiss = noise("hiss", 4, samples).reshape(2, 2, samples)
    estimated = np.stack([drums * np.float32(0.75) + vocals * np.float32(0.25), vocals + drums * np.float32(0.125)])
    estimated[1, 0, 3:] += estimated[1, 0, :-3] * np.float32(0.25)
    return np.stack([drums, vocals]), estimated + hiss * np.float32(0.0625)


if __name__ == "__main__":  # writes the file: needs museval, and the ffmpeg program that its imports ask for
    from pathlib import Path

    import museval

    references, estimates = (np.moveaxis(wave, 1, 2).astype(np.float64) for wave in stems_and_estimates())
    sdr, isr, sir, sar = museval.evaluate(references, estimates, win=RATE_HZ, hop=RATE_HZ)
    store = museval.TrackStore(track_name="museval", win=1.0, hop=1.0)
    for i, stem in enumerate(STEMS):
        found = {"SDR": sdr, "ISR": isr, "SIR": sir, "SAR": sar}
        store.add_target(stem, {measure: values[i].tolist() for measure, values in found.items()})
    STORED.write_text(store.json)
