"""Studies on the ledger: their votes, their beginning, their rounds and what is said of them."""
