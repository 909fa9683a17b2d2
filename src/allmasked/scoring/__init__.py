"""Scores of runs: one, several side by side, and labels that are probably wrong."""
