"""fednode: hospitals train a model together, without a central server."""

__version__ = "0.1.0"
