"""The spec: load (positions) → validate (schema, cross-checks) → model (frozen dataclasses)."""
