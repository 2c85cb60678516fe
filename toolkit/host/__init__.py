"""The host checks, one small function each, in a table."""
