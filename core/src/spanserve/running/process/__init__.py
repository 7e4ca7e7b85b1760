"""The model in processes of its own: replicas of the service, each with a host."""

from spanserve.running.process.plugin import Process

__all__ = ["Process"]
