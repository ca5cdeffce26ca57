"""What all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# Tests start processes while gRPC runs in this one; its fork handlers would abort the child now and then. gRPC reads
# this when it is imported, which is after this.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# A busy machine is no failure. CI has the library's own profile, which is the same in every run.
settings.register_profile("here", deadline=None)
if not os.environ.get("CI"):
    settings.load_profile("here")
