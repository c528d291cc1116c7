"""Evaluation: which samples, what is measured of whom, and how it is told."""
