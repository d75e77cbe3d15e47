"""What people read of a run, sentence by sentence."""
