"""What people and programs may ask of a node: read models, calls, and the control socket."""
