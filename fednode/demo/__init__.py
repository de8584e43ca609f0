"""A whole federation on one machine, for people who want to see it."""
