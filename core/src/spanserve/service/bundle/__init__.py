"""Bundles: a folder, a file or a module that becomes a service."""
