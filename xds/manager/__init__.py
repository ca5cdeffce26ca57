"""The manager: its API, timers, store and authentication, and the process that ties all parts together."""
