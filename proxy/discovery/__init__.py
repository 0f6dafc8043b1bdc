"""Everything that a workspace says about itself."""

from proxy.discovery.classes import Classes
from proxy.discovery.discovery import Discovery, Scopes

__all__ = ["Classes", "Discovery", "Scopes"]
