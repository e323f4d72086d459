"""Nurt: the current of change streams, folded into live customer profiles and stock."""

__version__ = "0.1.0"
