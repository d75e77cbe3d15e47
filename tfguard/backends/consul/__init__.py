"""Terraform's consul backend: a lock that a session holds, and a LockInfo beside it."""
