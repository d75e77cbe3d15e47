"""Run Terraform under its own state lock: fair waiting, a heartbeat, and a clean end whatever kills the run."""

__version__ = "0.1.0"
