"""Terraform's kubernetes backend: a lock that is a Lease, and a state that is a Secret."""
