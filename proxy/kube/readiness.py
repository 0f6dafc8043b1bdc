"""When a kube-apiserver that starts can be relied on."""

from __future__ import annotations

ROLES_HOOK = "poststarthook/rbac/bootstrap-roles"
"""What it is ready with at last, seconds later where there are many bindings: it looks whether Kubernetes' own roles
are as they should be, which has nothing to do with what it serves."""
LOADED = "/readyz/informer-sync"
"""Whether it has read all of its RBAC objects: it answers before, going by those that it has read
(``NewInformerSyncHealthz`` of k8s.io/apiserver)."""
