"""gradjax."""
