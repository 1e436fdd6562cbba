"""From a song to its stems: one song, its files, and jobs of many songs."""
