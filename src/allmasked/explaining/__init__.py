"""Where in a photo an answer comes from."""
