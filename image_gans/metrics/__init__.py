"""Metrics of pictures and of points."""
