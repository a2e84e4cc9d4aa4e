"""The specification: rules, golden vectors and their loader."""
