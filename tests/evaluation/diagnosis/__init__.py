"""What models say of data sets."""
