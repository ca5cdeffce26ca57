"""What a sidecar changes in what passes through it, all of it: the list in README, “What the sidecar changes”.

Each sentence is shown by the tests in `test_transparency` that name its key, on an ordinary route and on that of an
intercept.
"""

from __future__ import annotations

from typing import Final

DIFFERENCES: Final = {
    "peer": "The app sees the sidecar's address as its peer, and requests of different clients may arrive on one "
    "connection.",
    "x-forwarded-proto": "A request without `x-forwarded-proto` gets one: `http`.",
    "answers": "Answers to intercepted requests have `x-byway-intercept`, and `cache-control: no-store` where the "
    "laptop answered; both replace what was there.",
    "x-envoy": "The `x-envoy-…` request headers that steer a proxy (such as `x-envoy-retry-on` and "
    "`x-envoy-upstream-rq-timeout-ms`) have no effect and are removed; others, and those of responses, pass.",
    "hop-by-hop": "Hop-by-hop headers end at the sidecar, as RFC 9110 has it: `Connection` and what it names, "
    "`Keep-Alive`, `Proxy-Connection`, `TE` other than `trailers`, and `Upgrade: h2c`; connections are kept alive and "
    "closed on each side by itself.",
    "host-first": "`Host` becomes the first header and `Transfer-Encoding` the last; the others keep their order.",
    "joined": "Some standard headers that are repeated, such as `Accept`, `Accept-Encoding`, `Cache-Control`, `Vary`, "
    "`Via` and `X-Forwarded-For`, become one line, joined by commas; cookies and all others stay as they are.",
    "repeated-case": "Letter case is kept, but lines that repeat a name are all spelled as the first of them.",
    "blanks": "Blanks around a value become one blank before it, and folded lines one line.",
    "date": "A response without `date` gets one.",
    "content-length": "A request that may have a body but says nothing of it (a POST without `Content-Length`) gets "
    "`content-length: 0`.",
    "chunks": "Chunk boundaries and chunk extensions are not kept, and a response that ends with its connection "
    "becomes chunked.",
    "trailers": "Names of trailers become lower-case.",
    "http-1.0": "HTTP/1.0 requests reach the app as HTTP/1.1, with `host: localhost` where they have no Host; the "
    "answer is HTTP/1.0 again and closes the connection.",
    "absolute-form": "A request for an absolute URL (`GET http://host/path`) reaches the app as `GET /path` with that "
    "host as its `Host`.",
    "reason": "An empty reason phrase becomes the standard one; all others are kept.",
    "refused": "Envoy answers some requests itself: 400 for a path with `#` or bytes outside ASCII, for a missing Host "
    "in HTTP/1.1 or one with characters that no host can have, and for `Content-Length` together with "
    "`Transfer-Encoding`; 404 for `OPTIONS *`, CONNECT and an empty `X-Forwarded-Proto`; 501 for transfer encodings "
    "other than chunked; 403 for upgrades other than WebSocket, SPDY/3.1 and tcp.",
    "broken": "Where the app closes the connection without an answer the client gets a 503, and where its answer is "
    "not valid HTTP (`Content-Length` twice) a 502.",
    "early": "Where the app answers before it has the whole request, the answer says `connection: close`.",
    "half-closed": "A client that closes its sending side before it has the answer, as `nc` may do, is taken for gone "
    "and gets none; upgraded connections end in the same way.",
    "upgrade-200": "An answer 200 to an upgrade request, which is neither 101 nor an error, loses its body.",
    "limits": "Requests or responses with more than 10,000 header lines or 8 MB of them are refused.",
}
