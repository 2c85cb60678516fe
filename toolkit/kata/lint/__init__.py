"""Any Kata TOML of either dialect, held to what its runtime makes of it."""
