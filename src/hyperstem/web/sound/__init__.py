"""Audio of the jobs: takes, peaks, mixes, spectrograms, analysis, and zip archives."""
