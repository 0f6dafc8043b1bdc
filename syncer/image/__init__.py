"""Container images without a container engine: ``python -m syncer.image OUT.tar --tag localhost/kcp-syncer:TAG``.

An image has two layers: the running Python interpreter with the shared libraries that it needs, and a program. They are
written as an OCI archive that ``ctr images import``, ``podman load`` and ``docker load`` take. The same inputs give the
same bytes. People who have an engine may use ``manifests/images/Containerfile`` instead.
"""
