"""How it sounds: drums, tones and singers."""
