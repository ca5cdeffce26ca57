"""How durations and addresses are written for people."""

from __future__ import annotations


def plain(text: str) -> str:
    """Somebody else's words as one line that can't steer a terminal, nor reorder what stands beside it.

    Controls and format characters (ECMA-48 sequences, Unicode's bidirectional overrides) become U+FFFD, runs of white
    space a blank.
    """
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in " ".join(text.split()))


def duration(seconds: float) -> str:
    """Two units at most, rounded: `5s`, `2m30s`, `12m`, `23h59m`, `2d4h`. Negative counts as zero."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 600:
        return _two(whole, 60, "m", "s")
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return _two(minutes, 60, "h", "m")
    return _two(round(seconds / 3600), 24, "d", "h")


def _two(value: int, base: int, large: str, small: str) -> str:
    many, few = divmod(value, base)
    return f"{many}{large}{few}{small}" if few else f"{many}{large}"


def host_port(host: str, port: int) -> str:
    """`localhost:8080`, `[::1]:8080`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
