"""kata-toolkit: one spec in; an unprivileged, byte-identical, boot-verified Kata Containers guest out."""

__version__ = "0.1.0"
