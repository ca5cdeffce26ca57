"""The methods of the Manager, Gateways, Debug and Daemon services; `proto/` documents them."""

from __future__ import annotations

from xds.api.byway.daemon import v1 as daemon
from xds.api.byway.manager import v1 as manager
from xds.api.rpc import BidiStream, ServerStream, Unary

CONFLICT_KEY = "byway-conflict-bin"
"""The trailing metadata that says what an intercept is in conflict with: a Conflict."""


class Manager:
    """byway.manager.v1.Manager"""

    NAME = "byway.manager.v1.Manager"
    GET_VERSION = Unary(f"/{NAME}/GetVersion", manager.GetVersionRequest, manager.GetVersionReply)
    CONNECT = Unary(f"/{NAME}/Connect", manager.ConnectRequest, manager.ConnectReply)
    ATTEND = BidiStream(f"/{NAME}/Attend", manager.Presence, manager.Notice)
    QUIT = Unary(f"/{NAME}/Quit", manager.QuitRequest, manager.QuitReply)
    LIST_WORKLOADS = Unary(f"/{NAME}/ListWorkloads", manager.ListWorkloadsRequest, manager.ListWorkloadsReply)
    LIST_INTERCEPTS = Unary(f"/{NAME}/ListIntercepts", manager.ListInterceptsRequest, manager.ListInterceptsReply)
    CREATE_INTERCEPT = ServerStream(
        f"/{NAME}/CreateIntercept", manager.CreateInterceptRequest, manager.InterceptProgress
    )
    LEAVE_INTERCEPT = Unary(f"/{NAME}/LeaveIntercept", manager.LeaveInterceptRequest, manager.LeaveInterceptReply)
    EXTEND = Unary(f"/{NAME}/Extend", manager.ExtendRequest, manager.ExtendReply)
    REVOKE = Unary(f"/{NAME}/Revoke", manager.RevokeRequest, manager.RevokeReply)
    EXPLAIN = ServerStream(f"/{NAME}/Explain", manager.ExplainRequest, manager.ExplainReply)
    WHY = Unary(f"/{NAME}/Why", manager.WhyRequest, manager.WhyReply)
    REQUESTS = ServerStream(f"/{NAME}/Requests", manager.RequestsRequest, manager.RequestsReply)


class Gateways:
    """byway.manager.v1.Gateways"""

    NAME = "byway.manager.v1.Gateways"
    FOLLOW = ServerStream(f"/{NAME}/Follow", manager.FollowRequest, manager.GatewayWord)


class Debug:
    """byway.manager.v1.Debug"""

    NAME = "byway.manager.v1.Debug"
    LIST_SIDECARS = Unary(f"/{NAME}/ListSidecars", manager.ListSidecarsRequest, manager.ListSidecarsReply)
    GET_RESOURCES = Unary(f"/{NAME}/GetResources", manager.GetResourcesRequest, manager.GetResourcesReply)
    GET_HISTORY = Unary(f"/{NAME}/GetHistory", manager.GetHistoryRequest, manager.GetHistoryReply)
    TAP = ServerStream(f"/{NAME}/Tap", manager.TapRequest, manager.TapEvent)
    COMPARE = Unary(f"/{NAME}/Compare", manager.CompareRequest, manager.CompareReply)


class Daemon:
    """byway.daemon.v1.Daemon"""

    NAME = "byway.daemon.v1.Daemon"
    GET_STATUS = Unary(f"/{NAME}/GetStatus", daemon.GetStatusRequest, daemon.GetStatusReply)
    TAKE_NOTIFICATIONS = ServerStream(
        f"/{NAME}/TakeNotifications", daemon.TakeNotificationsRequest, daemon.PastNotification
    )
    STOP = Unary(f"/{NAME}/Stop", daemon.StopRequest, daemon.StopReply)
