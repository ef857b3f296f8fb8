"""Measure entropy at every step, and steer by it."""

__version__ = "0.1.0"
