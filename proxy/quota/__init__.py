"""What objects take of a ResourceQuota: what Kubernetes' quota controller and kube-apiserver's admission make of them.

Pure functions of objects as an API server tells them, after ``k8s.io/kubernetes/pkg/quota/v1`` of Kubernetes 1.36.
"""
