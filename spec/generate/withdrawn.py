"""Vectors that were wrong: they stay in their files with the reason, and the suite does not run them."""

WITHDRAWN: dict[str, str] = {}
