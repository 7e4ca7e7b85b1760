"""Sends spanserve's traces to Jaeger; select it with `tracing.type: jaeger`."""
