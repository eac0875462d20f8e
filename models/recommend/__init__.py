"""Recommendations: similar customers, what to buy again, what is new for you."""
