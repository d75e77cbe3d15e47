"""One lock: its records, its lease, its line, its deadlines. Pure over a store and a clock that are handed in."""
