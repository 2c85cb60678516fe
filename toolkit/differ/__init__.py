"""Where two files that should be the same are not: which file of an image, which header, section, member, line."""
