"""State in a file, its lock the kernel's."""
