"""Readers: one small module a dialect of logs, chosen by shape in ``detect``."""
