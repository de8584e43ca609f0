"""What is learned, as values and integers: study, data schema, model state, merge, statistics. No torch, no I/O."""
