"""`byway gateway`: an Envoy in front of laptops that can only call out, and the process that looks after it."""
