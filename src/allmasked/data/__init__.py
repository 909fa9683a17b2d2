"""Data sets: folder to labelled photos, to groups, to a split, to batches."""
