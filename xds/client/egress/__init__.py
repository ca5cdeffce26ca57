"""The laptop's way into the cluster, without root and without changing the laptop's network: a proxy on loopback.

    gateways     opens TCP connections to services, by whichever gateway answers
    socks        SOCKS5 with a client, without I/O
    web          HTTP with a client: CONNECT, and requests for absolute URLs
    owner        whose process is at the other end of a connection on this machine
    proxy        listens, and ties these together
    environment  the variables that make programs use it

Names are resolved on the cluster's side: `orders.dev` and `orders.dev.svc.cluster.local` mean nothing on the laptop,
and needn't. Which namespaces a user may call into is the gateway's to check, by the session's token.
"""
