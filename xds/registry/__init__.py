"""What sessions and intercepts are: match, overlap, precedence, take-over, expiry.

Everything here is pure: no I/O, no clock of its own, no asyncio. Time comes in as an argument (seconds of a
monotonic clock), changes go out as return values. Nothing here knows that Envoy exists.
"""
