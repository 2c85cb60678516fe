"""The command line: one file a verb; each parses arguments, calls one function and renders its result."""
