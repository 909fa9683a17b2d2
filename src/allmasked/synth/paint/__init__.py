"""The mask painter and what it paints with, for drawn and pasted photos alike."""
