"""How stages are planned, cached and run: stage → plan → engine → store."""
