"""Scenes drawn from nothing."""
