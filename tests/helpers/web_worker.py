"""The studio's song process with a stand-in separator: stems are fixed shares of the song, so they sum to it."""

import os
import sys
import time
from typing import NamedTuple

import numpy as np

from hyperstem import audio
from hyperstem.web.worker.__main__ import main

SHARES = {"drums": 0.4, "bass": 0.3, "other": 0.2, "vocals": 0.1}


class Block(NamedTuple):
    mixture: np.ndarray
    waves: np.ndarray

    @property
    def stems(self):
        return dict(zip(SHARES, self.waves, strict=True))


class ShareSeparator:
    """Separates nothing: every stem is the song at another level. Slowed by HYPERSTEM_TEST_DELAY_S a block."""

    stems = tuple(SHARES)
    model_name, model_sha256, trained, segment_s, overlap = "stand-in", "0" * 64, True, 1.0, 0.0

    def __init__(self, quality: str) -> None:
        self.quality = quality
        self.rate_hz = {"preview": 8000, "standard": 16000, "full": 32000}[quality]
        self.delay_s = float(os.environ.get("HYPERSTEM_TEST_DELAY_S", "0")) * (self.rate_hz > 8000)

    def stream(self, source, *_, **__):
        for block in audio.stream(source, block_frames=1 << 15):
            time.sleep(self.delay_s)
            yield Block(block, np.stack([block * np.float32(share) for share in SHARES.values()]))


if __name__ == "__main__":
    sys.exit(main(lambda model, quality: ShareSeparator(quality)))
