"""The laptop's end of the tunnel: an outgoing connection to each gateway, on which the gateways send requests back.

    contract      what every kind of tunnel is to the daemon, and what the two say to each other
    envoy_tunnel  a tunnel held by an Envoy
    mux           a tunnel held by this process, where Envoy can't run
    choice        which of them it is

A laptop behind NAT can't be connected to. So it dials every gateway: TLS, inside it one HTTP/2 stream (CONNECT), and
inside that an HTTP/2 connection on which the laptop is the *server*. A request that comes on it names the process that
it is for (`x-byway-target`), and is served only where the daemon declared that target.
"""
