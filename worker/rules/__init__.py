"""Rule segments: conditions that people write, evaluated whenever a customer is refreshed."""
