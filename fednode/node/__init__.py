"""One running daemon: the composition root around the machines, and everything that touches the outside."""
