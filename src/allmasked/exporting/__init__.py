"""A run or an ensemble as one file for other engines."""
