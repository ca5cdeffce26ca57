"""The Manager and Debug services: who calls, what they ask, what they are told."""
