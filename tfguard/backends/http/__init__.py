"""Terraform's http backend: GitLab-managed state, and whichever other server keeps a state and its lock."""
