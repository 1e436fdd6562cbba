"""The sound that is heard and shown: takes, their outlines, mixes, spectrograms, and archives of files."""
