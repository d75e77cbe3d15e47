"""What a run leaves in files for a later step of its job."""
