"""The composition: what a running daemon is put together from."""
