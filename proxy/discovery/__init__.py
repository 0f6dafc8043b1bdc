"""Everything that a workspace says about itself."""

from proxy.discovery.discovery import Discovery, Scopes

__all__ = ["Discovery", "Scopes"]
