"""Networks: backbone and head, their weights and losses, and how evidence maps are read."""
