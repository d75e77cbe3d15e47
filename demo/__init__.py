"""`make demo`: three runs in line for one lock, of which one is killed. See `demo.story`."""
