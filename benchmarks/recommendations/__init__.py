"""Quality of recommendations on public purchase data, beside the methods of the field."""
