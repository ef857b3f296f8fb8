"""Cutting traces into steps, and where a step lies in tokens, bytes and characters."""
