"""Terraform's pg backend: an advisory lock that ends with its connection, and a table of ours beside the states."""
