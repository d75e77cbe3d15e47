"""tfguard.yml, environment and flags become settings."""
