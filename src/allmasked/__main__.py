"""``python -m allmasked``."""

from allmasked.cli import main

main()
