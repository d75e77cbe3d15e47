"""What makes parts of the repository from other parts of it; a test of each says whether they are current."""
