"""Forecasts: who buys again, when, how often and for how much."""
