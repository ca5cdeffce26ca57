"""xdsctl: what each sidecar is meant to have, what it has, and whether it agreed.

    status   asks the manager how far every sidecar is
    get      shows the resources of one sidecar: as the manager means them, or with --live as Envoy has them

Resources travel as their canonical JSON with Envoy's own field names, whichever side they come from: `decode` makes it
of the manager's bytes, `live` takes it from Envoy's admin interface. Everything that is shown (`tables`, `words`) is a
pure function of that, so both sides are shown by the same code and can be compared line by line.
"""
