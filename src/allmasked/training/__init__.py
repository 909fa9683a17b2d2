"""Training: a split to a run folder."""
