"""Export, verification and proofs of facts: for people who hold a copy of the chain and trust nobody. Pure."""
