"""What is done to Terraform, and when. Pure: no process, no socket, no clock of its own."""
