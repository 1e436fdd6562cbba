"""What is played: scores, styles, grooves, lines, and what other programs write, as MIDI."""
