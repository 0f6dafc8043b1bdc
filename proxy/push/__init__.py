"""Physical clusters that are synced from beside the proxy: the kubeconfig of each is a Secret of its workspace, and
nothing of ours runs there. What tenants write is not trusted here, and neither is what their clusters answer."""
