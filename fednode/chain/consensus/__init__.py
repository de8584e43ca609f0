"""The consensus machine: Tendermint's Algorithm 1 (arXiv 1807.04938), pure and synchronous."""
