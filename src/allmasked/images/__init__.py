"""Photos as pixels: decoded, turned upright, resized, drawn over."""
