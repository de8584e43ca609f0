"""The ledger: a proof-of-authority chain whose blocks are final when they are decided."""
