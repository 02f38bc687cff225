"""Reads and writes files at one border per kind: bounded, in UTF-8, written beside and renamed, errors in sentences."""
