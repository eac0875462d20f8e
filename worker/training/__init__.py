"""How models are fitted: one module per kind, on what `data` collected as of one instant."""
