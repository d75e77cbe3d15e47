"""HCP Terraform and Terraform Enterprise: the lock of a workspace whose runs are executed here."""
