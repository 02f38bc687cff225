"""Writes pairs as JSONL, with their media files next to the table."""
