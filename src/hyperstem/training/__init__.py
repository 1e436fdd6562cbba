"""Training: settings of a run, one training step, the loop around it, validation, and what a run writes."""
