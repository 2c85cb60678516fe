"""Lock files: what every wish of a spec was resolved to, kept beside the spec."""
