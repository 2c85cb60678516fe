"""Root file systems: one file a source kind, each yields one deterministic tar; reading and writing those tars."""
