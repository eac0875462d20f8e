"""Who calls us: the forms in which a customer event may arrive."""
