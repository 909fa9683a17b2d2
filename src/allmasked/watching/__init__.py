"""Cameras, videos and folders over time."""
