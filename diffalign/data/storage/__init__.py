"""Storage on disk: tensor caches, their shard files, and handles to candidates that are read when needed."""
