"""What is said of a run: to people, to logs, on job pages."""
