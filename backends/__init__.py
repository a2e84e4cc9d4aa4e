"""Adapters: the same names for each framework."""
