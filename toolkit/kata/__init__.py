"""What Kata itself defines: configuration dialects (data in schemas/kata/) and the boot contract."""
