"""Sessions and intercepts under every order of commands, restarts included; `make soak` takes the same for longer."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.registry.machine import Registry

TestRegistry = Registry.TestCase
TestRegistry.settings = settings(
    max_examples=250,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
