"""Painted data sets."""
