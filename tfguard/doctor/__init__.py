"""What could keep tfguard from protecting a state: a line a check."""
