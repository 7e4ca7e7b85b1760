"""OpenTelemetry's own API inside the service: its spans land in spanserve's traces.

`provider` is what the process gets where it has no tracer provider, and what puts
`processor` into an SDK's that it has. `current` keeps one notion of the current span in
both worlds. Nothing here runs before somebody asks OpenTelemetry for a tracer.
"""
