"""Compiled loops. Arrays or addresses in, arrays out; every number is decided by the caller."""
