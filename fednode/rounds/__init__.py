"""Training rounds: what this member owes the ledger, the secure sum and the worker, as pure machines."""
