"""An xDS server library: what a client may see goes in as named, versioned bytes; the protocol is done here."""
