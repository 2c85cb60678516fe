"""Kernel options: fragments and profiles (data), their resolution by the kernel's own conf, and explanations."""
