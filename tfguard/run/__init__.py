"""A run, from its directory to its exit status; a killed one brought to its end."""
