"""Registry state → Envoy resources. Pure functions.

A workload compiles to listeners and endpoints for each of its instances (an instance's own addresses are in them),
and to routes and clusters that all instances share. Resources are authored with envoy-data-plane's typed messages,
which refuse a misspelt field or a second member of a oneof. Serialising those is slow (about 0.8 ms a route), so each
route and each endpoint is serialised once and its bytes are kept; a resource is spliced from such fragments, which
protobuf allows: a repeated field on the wire is the concatenation of its elements.

Intercepts live in routes, clusters and endpoints. A listener changes only when the workload's ports do, because a
changed listener drains its connections and a changed route does not.
"""
