"""Counts: depth, square roots, averages over neighbours, principal axes, and specific genes."""
