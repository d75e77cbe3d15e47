"""Which platform this is, and how one speaks to it."""
