"""Statements about secret numbers: a field, Shamir shares over it, fully linear proofs, and the coin they wait for."""
