"""Every Redis key, script and stored format, and nothing else."""
