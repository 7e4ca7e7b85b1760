"""Where each span and each attribute stands: what a name alone does not say."""

from typing import Final

SPAN_PLACES: Final = {
    "DECODE": "under the request: the body is read and becomes an item",
    "QUEUE": "under the request: until the runner starts; of a plain endpoint only if it waited",
    "COLLATE": "under the batch: items become one array or list",
    "RUN": "under the request: the model's run, of the whole batch; and under the batch, once",
    "SPLIT": "under the batch: the result becomes one answer for each item",
    "RETRY": "under the batch: a run raised, and some of its items are run again, to find the one "
    "at fault; holds collate, run and split",
    "ENCODE": "under the request: the answer becomes a body",
    "BATCH": "`batch {route}`, the root of a batch's own trace",
    "STARTUP": "`startup {service}`, the root of a start's own trace, if `__init__` or `warm_up` "
    "opens spans or logs",
}
ATTRIBUTE_PLACES: Final = {
    "ENDPOINT": ("request, batch", "the endpoint's route"),
    "REQUEST_ID": ("request", "as in the header `X-Request-Id`"),
    "KEY_NAME": ("request", "the name of the key of `server.auth` that it carried, if it has one"),
    "BATCH_TRACE_ID": ("queue", "the trace of the batch; not for a batch of one"),
    "BATCH_SPAN_ID": ("queue", "the root span of the batch; not for a batch of one"),
    "BATCH_SIZE": ("queue, batch", "items in the batch, traced or not"),
    "BATCH_POSITION": ("queue", "this item's place in the batch, from 0"),
    "BATCH_POSITIONS": ("retry", "the places in the batch of the items that are run again"),
    "BATCH_RETRIES": ("batch", "how many retries there were, where the batch raised"),
    "QUEUE_DEPTH": ("queue", "items that waited when this one came"),
    "WAIT_FOR_PEERS_MS": ("queue", "of the wait: with the runner free, for others to come"),
    "WAIT_FOR_RUNNER_MS": ("queue", "of the wait: for the runner to become free"),
    "WAIT_FOR_START_MS": ("queue", "of the wait: released, until the runner started"),
    "RELEASE_REASON": ("queue, batch", "`full`, `idle`, `deadline` or `drain`"),
    "RUN_SHARE_MS": ("run of a request", "the run's time divided by the batch's size"),
    "RUN_ATTEMPT": ("run of a request, retry", "where the batch raised: which go it is, from 1"),
    "RUN_RAISED": ("run of a request, retry", "what this go raised"),
    "RUN_UNFINISHED": ("run of a request", "true where the request ended before the run did"),
    "RUNNER_TYPE": ("run", "where the model runs, if not on a thread of the server: `process`"),
    "RUNNER_REPLICA": ("run", "the replica's number, from 0; not on a thread of the server"),
    "UNFINISHED": (
        "custom spans",
        (
            "true where it was still open at the stop, or an hour after its trace; in a copy: when "
            "the request ended"
        ),
    ),
    "LATE": ("custom spans", "true where the span ended after its trace had been handed over"),
    "KEPT_BY": ("request", "`error` or `slow`: the rule that kept a trace that was not sampled"),
    "DEBUG_ID": ("request", "the caller's header `jaeger-debug-id`"),
    "FIRST_ITEM_MS": ("request", "of a stream: until its first value was there to be sent"),
    "CLIENT_LEFT": (
        "request",
        "true where the client left before the end; its status is 499",
    ),
    "CUSTOM_LOST": (
        "request, batch",
        (
            "custom spans beyond the 1,000 of a trace, until that was handed over; later ones are "
            "counted as dropped, `late`"
        ),
    ),
    "COPY_OF": ("copies of custom spans", "the span id of the original, in the batch's trace"),
    "LINK_POSITION": ("links of a batch", "the member's place in the batch, from 0"),
    "LINK_WAIT_MS": ("links of a batch", "how long the member waited in the queue"),
    "ERROR_TYPE": ("any that failed", "the exception's class, or the status"),
    "EXCEPTION": ("any that failed", "the name of the event that tells of an exception"),
    "EXCEPTION_TYPE": ("that event", "the exception's class"),
    "EXCEPTION_MESSAGE": ("that event", "its text; not with `tracing.exceptions: type`"),
    "EXCEPTION_STACKTRACE": ("that event", "its stack; not with `tracing.exceptions: type`"),
    "SCOPE_NAME": ("OpenTelemetry's spans", "the name of the tracer that made it"),
    "SCOPE_VERSION": ("OpenTelemetry's spans", "the version of that tracer"),
    "HTTP_METHOD": ("request", "the method, or `_OTHER`"),
    "HTTP_METHOD_ORIGINAL": ("request", "the method, where it is not a known one"),
    "HTTP_ROUTE": ("request", "the route, where one was found"),
    "HTTP_STATUS": ("request", "the status of the answer"),
    "URL_PATH": ("request", "the path"),
    "URL_QUERY": ("request", "the query, its secrets redacted"),
    "URL_SCHEME": ("request", "`http` or `https`"),
    "SERVER_ADDRESS": ("request", "the host of the header `Host`"),
    "SERVER_PORT": ("request", "its port, or the scheme's"),
    "CLIENT_ADDRESS": ("request", "the client's address; behind a proxy, as it says"),
    "PEER_ADDRESS": ("request", "the address of the connection's other end"),
    "PEER_PORT": ("request", "its port"),
    "PROTOCOL_VERSION": ("request", "the version of HTTP"),
    "USER_AGENT": ("request", "the header `User-Agent`"),
}
