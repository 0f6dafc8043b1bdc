"""CEL as admission in Kubernetes has it: its variables, libraries, texts of errors and limits of cost.

The language's own implementation (`cel-expr-python`) parses; what is parsed is evaluated here (`evaluate.py`), because
a worker must know at each step what an expression of a tenant has cost, as kube-apiserver does, and because values and
errors have to be those of the Go implementation. Pure: no I/O.
https://kubernetes.io/docs/reference/using-api/cel/
"""
