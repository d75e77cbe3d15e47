"""Run Terraform under its own state lock: fair waiting, a heartbeat, and a clean end whatever kills the run."""

__version__ = "0.2.0"

#: Where the project, its manual and the schema of tfguard.yml are to be found; pyproject.toml says the same.
PROJECT = "https://github.com/example/tfguard"
MANUAL = "https://example.github.io/tfguard"
SCHEMA = "https://raw.githubusercontent.com/example/tfguard/main/tfguard/tfguard.schema.json"
