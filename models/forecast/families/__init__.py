"""Supervised candidates, one family per file; `registry` lists them."""
