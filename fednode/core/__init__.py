"""The node as one pure machine: what it knows, and what follows from each event."""
