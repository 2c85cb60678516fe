"""``python -m kata_toolkit``."""

from .cli.app import main

main()
