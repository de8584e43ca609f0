"""Tables of rows: cells, columns, how one site writes them, and whether they fit a study."""
