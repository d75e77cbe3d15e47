"""The bucket and the table that a backend needs: how they should be, built, or printed."""
