"""The rules of the xDS protocol, tried on our server and on go-control-plane: what docs/conformance.md is made by."""
