"""Peer-to-peer transport: `network` is the seam the node is written against, everything else is behind it."""
