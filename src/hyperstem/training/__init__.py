"""Training: settings of a run, training steps and their loop, validation, checkpoints and logs."""
