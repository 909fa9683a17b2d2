"""Arrays in, figures out: scores, votes, how different answers are, plots."""
