"""Terraform's gcs backend: its locks, and ours, as objects in Google Cloud Storage."""
