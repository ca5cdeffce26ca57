"""Byway: personal intercepts for Kubernetes, an xDS control plane for Envoy sidecars."""

__version__ = "0.1.0"
