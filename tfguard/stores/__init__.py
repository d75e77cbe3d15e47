"""Where lock and queue records live: one file per kind of store, each behind `tfguard.store.Store`."""
