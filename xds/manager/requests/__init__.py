"""The requests of intercepts, as sidecars tell of them: read, counted, kept for a moment, shown to their owners."""
