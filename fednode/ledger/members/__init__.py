"""Who belongs to the federation: hospitals, candidates, roles and the rules of the chain itself."""
