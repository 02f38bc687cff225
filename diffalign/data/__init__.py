"""Data: records, readers of the published formats, media decoding, the cache of tensors, the check of a data set."""
