"""Words become one call; errors become words and exit codes."""
