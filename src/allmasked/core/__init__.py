"""The base: types, errors, settings, the run folder's names, progress bars."""
