"""Terraform's azurerm backend: its own lock on the state's blob, and our record beside it."""
