"""Deliver: what changed goes to every destination, at its pace, at least once, the newest value."""
