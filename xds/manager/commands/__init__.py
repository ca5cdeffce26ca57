"""Commands of `byway` that need the manager's modules; loaded by name, so that the client imports none of them."""
