"""A seeded generator of multitrack songs for training, tests and demonstrations."""

from hyperstem.synth.band import render_song

__all__ = ["render_song"]
