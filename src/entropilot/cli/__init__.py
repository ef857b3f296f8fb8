"""The command line. Nothing heavy is imported before a command runs."""

from entropilot.cli.app import main

__all__ = ["main"]
