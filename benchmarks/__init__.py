"""Scores, times and sizes that the documentation tells: ``python -m benchmarks --list``."""
