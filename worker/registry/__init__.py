"""Model versions at rest: their format and signature, and where their bytes are kept."""
