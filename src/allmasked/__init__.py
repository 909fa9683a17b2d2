"""Does everyone in this photo wear a face mask? See the README for the tour."""

__version__ = "0.1.0"

__all__ = ["__version__"]
