"""The programs that can be a guest's agent: one file a kind, each saying how the program comes about."""
