"""What is played: scores, styles, grooves and lines."""
