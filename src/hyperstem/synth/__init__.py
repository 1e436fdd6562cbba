"""A seeded generator of multitrack songs: material to train on, to test with and to show."""

from hyperstem.synth.band import render_song

__all__ = ["render_song"]
