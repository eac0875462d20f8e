"""Whom we call: one file per vendor, under one contract."""
