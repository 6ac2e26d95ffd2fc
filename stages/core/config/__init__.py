"""The config: models of its sections and of the file, loading, its schema."""
