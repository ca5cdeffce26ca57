"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# A busy machine is no failure. CI has the library's own profile, which is the same in every run.
settings.register_profile("here", deadline=None)
if not os.environ.get("CI"):
    settings.load_profile("here")
