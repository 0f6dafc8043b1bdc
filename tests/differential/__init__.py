"""The same random requests to a plain kube-apiserver and to a workspace: the answers must be the same.

``python -m tests.differential --seed 7 --requests 3000`` plays them and prints, for each difference, the smallest
sequence of requests that still shows it.
"""
