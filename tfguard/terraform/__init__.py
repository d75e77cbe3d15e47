"""Terraform as it is on disk and on the command line. Nothing here starts it."""
