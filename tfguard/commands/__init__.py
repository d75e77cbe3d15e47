"""The commands: what `tfguard WORD` does, one file each."""
