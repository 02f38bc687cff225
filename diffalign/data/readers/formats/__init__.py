"""The formats of data sets, one file each; their rows are in `diffalign.data.readers.registry`."""
