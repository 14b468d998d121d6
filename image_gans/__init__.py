"""Pictures: one round, every objective."""
