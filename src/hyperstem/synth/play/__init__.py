"""How it sounds: drums, tones, recorded samples, SoundFonts, and singers."""
