"""The checks of a proof, one file a subject."""
