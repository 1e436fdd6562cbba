"""From a song to its stems: one song, its files, and batches of songs."""
