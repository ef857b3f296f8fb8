"""Verifiers: is what a model wrote the right answer?"""
