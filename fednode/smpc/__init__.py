"""The secure sum: members learn the sum of their vectors over an agreed set and nothing else about any of them."""
