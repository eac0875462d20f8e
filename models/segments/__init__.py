"""Segments: groups of customers with stable ids and readable names."""
