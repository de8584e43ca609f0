"""The ledger's rules of a secure sum: its phases as rows of one table."""
