"""Requests without records, as the server keeps those that it answers without a task."""

from dataclasses import dataclass

from hypothesis import strategies as st

from spanserve.tracing.admission.client import Client
from spanserve.tracing.admission.head import Head
from spanserve.tracing.recording.record import ItemRecord, RequestRecord
from spanserve.tracing.recording.request_trace import UNDECIDED, RequestTrace
from spanserve.tracing.tracing import Tracing

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLERS = (
    ("", ""),
    ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-01"),
    ("traceparent", f"00-{TRACE_ID}-{SPAN_ID}-00"),
    ("b3", "d"),
    ("b3", f"{TRACE_ID}-{SPAN_ID}-d"),
    ("jaeger-debug-id", "look"),
)


@dataclass(frozen=True)
class Call:
    """What a client sends, and whether its answer can be written."""

    caller: tuple[str, str]
    state: str
    user_agent: bytes
    request_id: str
    port: int
    fails: bool


_states = st.sampled_from(["", "", "foo=1,bar=2", "congo=t61"])
_agents = st.sampled_from([b"curl", b"wrk"])
_usual_calls = st.builds(
    Call,
    st.sampled_from(CALLERS[:2]),
    _states,
    _agents,
    st.sampled_from(["", "", "x"]),
    st.just(5555),
    st.just(value=False),
)
_any_calls = st.builds(
    Call,
    st.sampled_from(CALLERS),
    _states,
    _agents,
    st.sampled_from(["", "", "x", "y" * 128]),
    st.sampled_from([5555, 5555, 0]),
    st.sampled_from([False, False, False, True]),
)
batches_of_calls = st.lists(
    st.lists(_any_calls, min_size=1, max_size=6) | st.lists(_usual_calls, min_size=2, max_size=6),
    min_size=1,
    max_size=3,
)


class Lean(RequestTrace):
    """A request, and its item."""

    __slots__ = ("_tracing", "own")

    def __init__(self, tracing: Tracing, call: Call) -> None:
        self._tracing = tracing
        self.started_ns = tracing.now_ns()
        self.item = self.record = None
        self.encode_ns = self.encoded_ns = 0
        self.request_id = call.request_id
        self.trace_id = ""
        self.decision = UNDECIDED
        name, value = (each.encode() for each in call.caller)
        client = Client("http", ("127.0.0.1", call.port))
        fields = {b"user-agent": call.user_agent} | ({name: value} if name else {})
        if name == b"traceparent" and call.state:
            fields[b"tracestate"] = call.state.encode()
        self.head = Head("/predict", client, fields, not (name or call.request_id))
        self.own = self.item = ItemRecord(self, tracing.now_ns(), 0)

    @property
    def full_record(self) -> RequestRecord:
        """Return the request's record, which is made when it is first asked for."""
        if self.record is None:
            self.record = self._tracing.record_of(self)
        return self.record

    def answer(self, *, fails: bool) -> None:
        """Write the answer, and end."""
        now_ns = self._tracing.now_ns
        self.encode_ns = now_ns()
        if not self.recording:
            return
        if fails:
            self._tracing.request_ended(self.write_record(self.own, 0, 500))
        else:
            self.encoded_ns = now_ns()
